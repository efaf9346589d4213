// The platform's API, over HTTPS: it says which worker to call, and gives a token for it.
#pragma once

#include <lovage/session.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace lovage {

struct SessionOptions {
  std::string model;                 // owner/name, owner/name:version, an alias, a bare name
  std::string device;                // a class (cuda) or a device (cuda:0@host)
  std::int64_t memory_bytes = 0;     // of the device
  std::string affinity;              // the same key leads to the same worker while it is healthy
  std::vector<std::string> exclude;  // workers that did not answer
  std::string records = "sync";      // async: answered before they are recorded
  std::string task;                  // what the model must be for
};

class Platform {
 public:
  // `url` as https://host; `tls` for the API itself.
  Platform(std::string url, std::string token, Tls tls = {}, double seconds = 30.0);

  // What the platform answers. Throws Error.
  SessionInfo request_session(const SessionOptions& options) const;
  // The same, with the channel to the worker; `tls` for the worker. Throws Error.
  Session open_session(const SessionOptions& options, const Tls& tls = {}) const;

 private:
  std::string url_;
  std::string token_;
  Tls tls_;
  double seconds_;
};

}  // namespace lovage
