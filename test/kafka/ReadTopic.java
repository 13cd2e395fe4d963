// Kafka's own consumer: prints the values of a topic, from the beginning, until it has so many.
// java -cp 'libs/*' ReadTopic.java BROKERS TOPIC COUNT
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

public class ReadTopic {
  public static void main(String[] args) {
    int left = Integer.parseInt(args[2]);
    long end = System.nanoTime() + 60_000_000_000L;
    try (var consumer = new KafkaConsumer<>(Map.<String, Object>of("bootstrap.servers", args[0]),
        new StringDeserializer(), new StringDeserializer())) {
      List<TopicPartition> partitions = consumer.partitionsFor(args[1]).stream()
          .map(one -> new TopicPartition(one.topic(), one.partition())).toList();
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      while (left > 0 && System.nanoTime() < end) {
        for (var record : consumer.poll(Duration.ofMillis(200))) {
          System.out.println(record.value());
          left -= 1;
        }
      }
    }
    System.exit(left == 0 ? 0 : 1);
  }
}
