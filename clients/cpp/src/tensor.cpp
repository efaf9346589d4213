#include <lovage/tensor.hpp>

#include <lovage/errors.hpp>

#include <cstring>

namespace lovage {
namespace {

void require(const Tensor& tensor, bool fits, const char* wanted) {
  if (!fits) throw Error("invalid_argument", tensor.name + " is " + tensor.datatype + ", not " + wanted);
}

template <typename Number>
std::vector<Number> numbers(const std::string& bytes) {
  std::vector<Number> values(bytes.size() / sizeof(Number));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(Number));
  return values;
}

std::uint32_t read_length(const std::string& bytes, std::size_t at) {
  std::uint32_t length = 0;
  std::memcpy(&length, bytes.data() + at, sizeof(length));
  return length;
}

}  // namespace

Tensor Tensor::of_floats(std::string name, std::vector<std::int64_t> shape, const std::vector<float>& values) {
  std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return Tensor{std::move(name), "FP32", std::move(shape), std::move(bytes)};
}

Tensor Tensor::of_texts(std::string name, const std::vector<std::string>& texts) {
  std::string bytes;
  for (const std::string& text : texts) {
    const auto length = static_cast<std::uint32_t>(text.size());
    bytes.append(reinterpret_cast<const char*>(&length), sizeof(length));
    bytes += text;
  }
  return Tensor{std::move(name), "BYTES", {static_cast<std::int64_t>(texts.size())}, std::move(bytes)};
}

std::vector<float> Tensor::floats() const {
  require(*this, datatype == "FP32", "FP32");
  return numbers<float>(bytes);
}

std::vector<double> Tensor::doubles() const {
  require(*this, datatype == "FP32" || datatype == "FP64", "FP32 or FP64");
  if (datatype == "FP64") return numbers<double>(bytes);
  const std::vector<float> values = numbers<float>(bytes);
  return {values.begin(), values.end()};
}

std::vector<std::string> Tensor::texts() const {
  require(*this, datatype == "BYTES", "BYTES");
  std::vector<std::string> texts;
  for (std::size_t at = 0; at + sizeof(std::uint32_t) <= bytes.size();) {
    const std::uint32_t length = read_length(bytes, at);
    at += sizeof(length);
    if (length > bytes.size() - at) throw Error("data_loss", name + " ends in the middle of a text");
    texts.push_back(bytes.substr(at, length));
    at += length;
  }
  return texts;
}

}  // namespace lovage
