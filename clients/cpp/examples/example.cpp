// Streams a text from a worker itself:
//   LOVAGE_URL=http://127.0.0.1:8000 LOVAGE_TOKEN=lov_… lovage_example demo/echo "hello there"
// With mutual TLS also LOVAGE_CERTIFICATE and LOVAGE_CERTIFICATE_KEY, and LOVAGE_CA where the platform's API or
// its worker has an authority of its own.
#include <lovage/client.hpp>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <thread>

namespace {

constexpr int kTries = 5;
constexpr double kPause = 0.5;  // seconds, where the platform names none

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// Prints the output as it comes; true when the prediction has succeeded.
bool print_stream(const lovage::Session& session, const std::string& text) {
  lovage::Stream events = session.stream({{"text", text}, {"chunks", 4}});
  while (const auto event = events.next()) {
    if (event->kind == "output") {
      std::cout << (event->data.is_string() ? event->data.get<std::string>() : event->data.dump()) << std::flush;
    } else if (event->kind == "restart") {
      std::cout << "\n(begins anew)\n";
    } else if (event->end) {
      std::cout << "\n";
      if (!event->end->error.empty()) std::cerr << event->end->error_code << ": " << event->end->error << "\n";
      return event->end->status == "succeeded";
    }
  }
  return false;
}

// A worker that is busy is asked again after the time that it names; one that is gone is left for another.
int run(const lovage::Platform& platform, lovage::SessionOptions options, const lovage::Tls& tls,
        const std::string& text) {
  for (int tries = 1;; ++tries) {
    std::string worker;
    try {
      const lovage::Session session = platform.open_session(options, tls);
      worker = session.info().worker;
      return print_stream(session, text) ? 0 : 1;
    } catch (const lovage::Error& error) {
      const bool may_help = error.is_worker_gone() || error.retry_after();
      if (!may_help || tries == kTries) throw;
      if (error.is_worker_gone() && !worker.empty()) options.exclude.push_back(worker);
      std::this_thread::sleep_for(std::chrono::duration<double>(error.retry_after().value_or(kPause)));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || environment("LOVAGE_URL").empty()) {
    std::cerr << "usage: LOVAGE_URL=https://… LOVAGE_TOKEN=lov_… lovage_example OWNER/MODEL TEXT\n";
    return 2;
  }
  try {
    const lovage::Tls tls = lovage::Tls::from_files(environment("LOVAGE_CA"), environment("LOVAGE_CERTIFICATE"),
                                                    environment("LOVAGE_CERTIFICATE_KEY"));
    const lovage::Platform platform(environment("LOVAGE_URL"), environment("LOVAGE_TOKEN"), {tls.ca, "", ""});
    lovage::SessionOptions options;
    options.model = argv[1];
    return run(platform, options, tls, argv[2]);
  } catch (const lovage::Error& error) {
    std::cerr << "lovage_example: " << error.what() << " (" << error.code() << ")\n";
    return 1;
  }
}
