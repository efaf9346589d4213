// JSON as it is sent.
#pragma once

#include <lovage/errors.hpp>

#include <nlohmann/json.hpp>
#include <string>

namespace lovage {

// Throws Error `invalid_argument` for texts that are not UTF-8.
inline std::string encode(const nlohmann::json& value) {
  try {
    return value.dump();
  } catch (const nlohmann::json::exception& error) {
    throw Error("invalid_argument", error.what());
  }
}

}  // namespace lovage
