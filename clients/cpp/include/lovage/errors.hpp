// What goes wrong, as one type.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

namespace lovage {

// Every failure of a call. `code` is stable: gRPC's status in lower case (`unauthenticated`, `permission_denied`,
// `resource_exhausted`, `unavailable`, …) for calls of a worker, the platform's own code (`not_found`, `forbidden`,
// …) for a session that was refused, `wrong_certificate` for a worker that is not the one the platform named.
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& sentence, std::optional<double> retry_after = std::nullopt)
      : std::runtime_error(sentence), code_(std::move(code)), retry_after_(retry_after) {}

  const std::string& code() const noexcept { return code_; }
  // Seconds after which the same call may be tried again; the server said so.
  std::optional<double> retry_after() const noexcept { return retry_after_; }
  // Whether another worker should be asked for: SessionOptions::exclude names this one.
  bool is_worker_gone() const noexcept { return code_ == "unavailable"; }

 private:
  std::string code_;
  std::optional<double> retry_after_;
};

}  // namespace lovage
