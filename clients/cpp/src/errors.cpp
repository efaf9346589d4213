#include "status.hpp"

#include <array>
#include <cstdlib>

namespace lovage {
namespace {

constexpr std::array<const char*, 17> kNames = {
    "ok",                  "cancelled",     "unknown",           "invalid_argument",
    "deadline_exceeded",   "not_found",     "already_exists",    "permission_denied",
    "resource_exhausted",  "failed_precondition", "aborted",     "out_of_range",
    "unimplemented",       "internal",      "unavailable",       "data_loss",
    "unauthenticated"};

std::optional<double> retry_after(const grpc::ClientContext& context) {
  const auto& metadata = context.GetServerTrailingMetadata();
  const auto found = metadata.find("retry-after");
  if (found == metadata.end()) return std::nullopt;
  const std::string text(found->second.data(), found->second.size());
  return std::strtod(text.c_str(), nullptr);
}

}  // namespace

void require_ok(const grpc::Status& status, const grpc::ClientContext& context) {
  if (status.ok()) return;
  const auto number = static_cast<std::size_t>(status.error_code());
  throw Error(number < kNames.size() ? kNames[number] : "unknown", status.error_message(), retry_after(context));
}

}  // namespace lovage
