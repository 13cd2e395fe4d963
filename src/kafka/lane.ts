/** What waits for one partition, and the leader group it belongs to. */
import { RecordQueue } from '../sinks/queue.ts'

export class Lane extends RecordQueue {
  readonly partition: number
  /** Broker id of the group it belongs to; -1: none. */
  leader = -1
  /** Where it belongs from the moment nothing of it is in flight. */
  nextLeader = -1
  /** Monotonic ms since when the cluster has not known the partition; -1: it does. */
  missingSinceMs = -1

  constructor(partition: number) {
    super()
    this.partition = partition
  }
}
