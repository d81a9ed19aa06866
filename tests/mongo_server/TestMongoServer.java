import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.DatabaseResolver;
import de.bwaldvogel.mongo.backend.aggregation.stage.AddFieldsStage;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.h2.H2Database;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.oplog.Oplog;
import io.netty.channel.Channel;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Stream;
import org.h2.mvstore.MVStore;

/**
 * A MongoDB-protocol server on one file, for tests.
 *
 * <p>mongo-java-server answers the commands. Three things are added to it: an acknowledged write is
 * in the file, updates may be aggregation pipelines of $set and $addFields, and dropIndexes takes
 * "*".
 *
 * <p>Usage: {@code java -cp "lib/*" TestMongoServer.java PORT FILE}; PORT 0 takes a free one.
 */
public class TestMongoServer {

  public static void main(String[] arguments) throws Exception {
    MongoServer server = new MongoServer(new DurableBackend(arguments[1]));
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdownNow));
    server.bind(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
    System.out.println(server.getLocalAddress().getPort());
    Thread.currentThread().join();
  }

  private static class DurableBackend extends H2Backend {
    DurableBackend(String file) {
      super(file);
      // in megabytes, a quarter of the memory: with the 16 of H2 every query reads from the file
      getMvStore().setCacheSize((int) (Runtime.getRuntime().maxMemory() >> 22));
    }

    @Override
    protected MongoDatabase openOrCreateDatabase(String name) {
      return new DurableDatabase(name, getMvStore(), getCursorRegistry());
    }
  }

  private static class DurableDatabase extends H2Database {
    private static final Set<String> WRITING =
        Set.of(
            "insert", "update", "delete", "findandmodify", "create", "createindexes", "drop",
            "dropindexes", "dropdatabase");

    private final MVStore file;

    DurableDatabase(String name, MVStore file, CursorRegistry cursors) {
      super(name, file, cursors);
      this.file = file;
    }

    @Override
    public Document handleCommand(
        Channel channel, String command, Document query, DatabaseResolver resolver, Oplog oplog) {
      Request request = new Request(channel, command, query, resolver, oplog);
      String name = command.toLowerCase(Locale.ROOT);
      Document reply =
          switch (name) {
            case "findandmodify" -> findAndModify(request);
            case "update" -> update(request);
            case "dropindexes" -> dropIndexes(request);
            default -> answer(request, query);
          };
      if (WRITING.contains(name)) {
        file.commit();
      }
      return reply;
    }

    private record Request(
        Channel channel, String command, Document query, DatabaseResolver resolver, Oplog oplog) {
      String collection() {
        return (String) query.get(query.keySet().iterator().next());
      }
    }

    private Document answer(Request request, Document query) {
      return super.handleCommand(
          request.channel, request.command, query, request.resolver, request.oplog);
    }

    private synchronized Document findAndModify(Request request) {
      if (!(request.query.get("update") instanceof List<?> pipeline)) {
        return answer(request, request.query);
      }
      Document plain = request.query.clone();
      List<Document> found =
          find(request, (Document) plain.get("query"), (Document) plain.get("sort"), 1);
      if (found.isEmpty()) {
        plain.append("update", new Document("$set", new Document())).append("upsert", false);
      } else {
        Document document = found.get(0);
        plain
            .append("query", new Document("_id", document.get("_id")))
            .append("update", applied(pipeline, document));
      }
      return answer(request, plain);
    }

    private synchronized Document update(Request request) {
      List<Document> updates = new ArrayList<>();
      for (Object each : (Collection<?>) request.query.get("updates")) {
        Document update = (Document) each;
        if (update.get("u") instanceof List<?> pipeline) {
          int limit = Boolean.TRUE.equals(update.get("multi")) ? 0 : 1;
          for (Document document : find(request, (Document) update.get("q"), null, limit)) {
            Document byId = new Document("_id", document.get("_id"));
            updates.add(new Document("q", byId).append("u", applied(pipeline, document)));
          }
        } else {
          updates.add(update);
        }
      }
      if (updates.isEmpty()) {
        return new Document("n", 0).append("nModified", 0).append("ok", 1.0);
      }
      return answer(request, request.query.clone().append("updates", updates));
    }

    private Document dropIndexes(Request request) {
      if (!"*".equals(request.query.get("index"))) {
        return answer(request, request.query);
      }
      Document listing = new Document("listIndexes", request.collection());
      Document listed =
          super.handleCommand(
              request.channel, "listIndexes", listing, request.resolver, request.oplog);
      for (Document index : firstBatch(listed)) {
        if (!"_id_".equals(index.get("name"))) {
          answer(request, request.query.clone().append("index", index.get("name")));
        }
      }
      return new Document("ok", 1.0);
    }

    private List<Document> find(Request request, Document filter, Document sort, int limit) {
      Document find =
          new Document("find", request.collection())
              .append("filter", filter == null ? new Document() : filter)
              .append("batchSize", Integer.MAX_VALUE);
      if (sort != null) {
        find.append("sort", sort);
      }
      if (limit > 0) {
        find.append("limit", limit);
      }
      return firstBatch(
          super.handleCommand(request.channel, "find", find, request.resolver, request.oplog));
    }

    private static List<Document> firstBatch(Document reply) {
      List<Document> documents = new ArrayList<>();
      for (Object each : (Collection<?>) ((Document) reply.get("cursor")).get("firstBatch")) {
        documents.add((Document) each);
      }
      return documents;
    }

    private static Document applied(List<?> pipeline, Document document) {
      Document result = document.cloneDeeply();
      for (Object each : pipeline) {
        Document stage = (Document) each;
        String name = stage.keySet().iterator().next();
        if (!name.equals("$set") && !name.equals("$addFields")) {
          throw new UnsupportedOperationException("update stage " + name);
        }
        AddFieldsStage set = new AddFieldsStage((Document) stage.get(name));
        result = set.apply(Stream.of(result)).findFirst().orElseThrow();
      }
      return result;
    }
  }
}
