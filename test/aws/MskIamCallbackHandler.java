import java.io.IOException;
import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.UUID;
import java.util.stream.Collectors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.UnsupportedCallbackException;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerExtensionsValidatorCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/**
 * Verifies tokens as MSK's IAM authentication does: the presigned URL's form, its scope, that it is
 * fresh, and its signature (Signature Version 4) against the keys that are known here.
 *
 * What is known stands in a properties file (system property pg2kafka.iam), read at each
 * authentication: region, clock.offset.seconds of this broker, and for each access key
 * NAME.secret, NAME.token (of a session, optional) and NAME.principal.
 *
 * See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
public final class MskIamCallbackHandler implements AuthenticateCallbackHandler {
  private static final DateTimeFormatter TIME =
      DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);
  private static final Set<String> NOT_SIGNED = Set.of("X-Amz-Signature", "User-Agent");

  @Override
  public void configure(
      Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}

  @Override
  public void close() {}

  @Override
  public void handle(Callback[] callbacks) throws IOException, UnsupportedCallbackException {
    for (Callback callback : callbacks) {
      if (callback instanceof OAuthBearerValidatorCallback validator) {
        validator.token(verify(validator.tokenValue()));
      } else if (!(callback instanceof OAuthBearerExtensionsValidatorCallback)) {
        throw new UnsupportedCallbackException(callback);
      }
    }
  }

  private static OAuthBearerToken verify(String value) throws IOException {
    Properties known = new Properties();
    try (var reader = Files.newBufferedReader(Path.of(System.getProperty("pg2kafka.iam")))) {
      known.load(reader);
    }
    URI url = URI.create(new String(Base64.getUrlDecoder().decode(value), StandardCharsets.UTF_8));
    // As they stand in the URL, for the signature; in the order that it wants.
    Map<String, String> raw =
        Arrays.stream(url.getRawQuery().split("&"))
            .map(pair -> pair.split("=", 2))
            .collect(Collectors.toMap(p -> p[0], p -> p[1], (a, b) -> refuse("twice"), TreeMap::new));
    Map<String, String> query =
        raw.entrySet().stream()
            .collect(
                Collectors.toMap(
                    Map.Entry::getKey,
                    e -> URLDecoder.decode(e.getValue(), StandardCharsets.UTF_8)));
    String region = known.getProperty("region");
    String host = "kafka." + region + ".amazonaws.com";
    String[] scope = query.getOrDefault("X-Amz-Credential", "").split("/");
    check("https".equals(url.getScheme()) && host.equals(url.getHost()), "host");
    check("/".equals(url.getPath()), "path");
    check("kafka-cluster:Connect".equals(query.get("Action")), "action");
    check("AWS4-HMAC-SHA256".equals(query.get("X-Amz-Algorithm")), "algorithm");
    check("host".equals(query.get("X-Amz-SignedHeaders")), "signed headers");
    check(scope.length == 5, "credential");
    String date = query.get("X-Amz-Date");
    check(
        date.startsWith(scope[1])
            && scope[2].equals(region)
            && scope[3].equals("kafka-cluster")
            && scope[4].equals("aws4_request"),
        "scope");

    Instant signedAt = Instant.from(TIME.parse(date));
    Instant expiresAt = signedAt.plusSeconds(Long.parseLong(query.get("X-Amz-Expires")));
    long offset = Long.parseLong(known.getProperty("clock.offset.seconds", "0"));
    Instant now = Instant.now().plusSeconds(offset);
    check(now.isBefore(expiresAt) && now.plusSeconds(300).isAfter(signedAt), "time");
    check(!expiresAt.isAfter(signedAt.plusSeconds(900)), "life");

    String accessKey = scope[0];
    String secret = known.getProperty(accessKey + ".secret");
    check(secret != null, "key");
    String sessionToken = known.getProperty(accessKey + ".token");
    check(sessionToken == null || sessionToken.equals(query.get("X-Amz-Security-Token")), "session");
    String signature = sign(secret, scope, date, host, raw);
    check(
        MessageDigest.isEqual(
            signature.getBytes(StandardCharsets.UTF_8),
            query.get("X-Amz-Signature").getBytes(StandardCharsets.UTF_8)),
        "signature");
    String principal = known.getProperty(accessKey + ".principal");
    System.err.println("MSK IAM: admitted " + principal);
    return new Verified(value, principal, signedAt.toEpochMilli(), expiresAt.toEpochMilli());
  }

  private static String sign(
      String secret, String[] scope, String date, String host, Map<String, String> raw) {
    String canonicalQuery =
        raw.entrySet().stream()
            .filter(e -> !NOT_SIGNED.contains(e.getKey()))
            .map(e -> e.getKey() + "=" + e.getValue())
            .collect(Collectors.joining("&"));
    String request =
        String.join("\n", "GET", "/", canonicalQuery, "host:" + host, "", "host", hash(""));
    String scopeText = String.join("/", Arrays.copyOfRange(scope, 1, 5));
    String text = String.join("\n", "AWS4-HMAC-SHA256", date, scopeText, hash(request));
    byte[] key = ("AWS4" + secret).getBytes(StandardCharsets.UTF_8);
    for (String part : Arrays.copyOfRange(scope, 1, 5)) {
      key = hmac(key, part);
    }
    return HexFormat.of().formatHex(hmac(key, text));
  }

  private static byte[] hmac(byte[] key, String text) {
    try {
      Mac mac = Mac.getInstance("HmacSHA256");
      mac.init(new SecretKeySpec(key, "HmacSHA256"));
      return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException(e);
    }
  }

  private static String hash(String text) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      return HexFormat.of().formatHex(digest.digest(text.getBytes(StandardCharsets.UTF_8)));
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException(e);
    }
  }

  private static void check(boolean holds, String what) {
    if (!holds) refuse(what);
  }

  /** MSK tells nobody why; the broker's log does. */
  private static String refuse(String what) {
    System.err.println("MSK IAM: refused for its " + what);
    throw new SaslAuthenticationException("[" + UUID.randomUUID() + "]: Access denied");
  }

  private record Verified(String value, String principalName, Long startTimeMs, long lifetimeMs)
      implements OAuthBearerToken {
    @Override
    public Set<String> scope() {
      return Set.of();
    }
  }
}
