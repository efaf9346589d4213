// Calls over HTTP(S), and the certificate that a TLS port shows.
#pragma once

#include <lovage/session.hpp>

#include <string>

namespace lovage {

inline constexpr double kMilliseconds = 1000.0;  // of a second

struct HttpAnswer {
  long status = 0;
  std::string body;
  double retry_after = -1.0;  // seconds; negative: not said
};

// Throws Error `unreachable`.
HttpAnswer post_json(const std::string& url, const std::string& token, const std::string& body, const Tls& tls,
                     double seconds);

// The certificate that host:port shows, PEM, unverified. Throws Error `unavailable`.
std::string shown_certificate(const std::string& address, const Tls& tls, double seconds);

// SHA-256 of a PEM certificate, in lower-case hex.
std::string certificate_sha256(const std::string& pem);

}  // namespace lovage
