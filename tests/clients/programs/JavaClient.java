// What users of the JDK's own HttpClient do: it offers HTTP/2 with its first request, whose body follows.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.stream.Collectors;

public class JavaClient {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    private static HttpRequest.Builder to(String path) {
        return HttpRequest.newBuilder(URI.create(System.getenv("BASE_URL") + path))
                .header("authorization", "Bearer " + System.getenv("API_KEY"))
                .header("content-type", "application/json");
    }

    private static HttpRequest chat(String more) {
        String body = "{\"model\":\"support\",\"messages\":[{\"role\":\"user\",\"content\":\"where is my card\"}]" + more + "}";
        return to("/chat/completions").POST(HttpRequest.BodyPublishers.ofString(body)).build();
    }

    public static void main(String[] arguments) throws Exception {
        HttpResponse<String> answer = CLIENT.send(chat(""), HttpResponse.BodyHandlers.ofString());
        String stream = CLIENT.send(chat(",\"stream\":true"), HttpResponse.BodyHandlers.ofLines())
                .body().filter(line -> line.startsWith("data:")).collect(Collectors.joining("\n"));
        HttpResponse<String> models = CLIENT.send(to("/models").GET().build(), HttpResponse.BodyHandlers.ofString());
        HttpRequest waiting = HttpRequest.newBuilder(chat(""), (name, value) -> true).expectContinue(true).build();
        HttpResponse<String> waited = CLIENT.send(waiting, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body().contains("\"card\""));
        System.out.println(stream.endsWith("data: [DONE]"));
        System.out.println(models.statusCode() + " " + models.body().contains("\"support\""));
        System.out.println(waited.statusCode());
    }
}
