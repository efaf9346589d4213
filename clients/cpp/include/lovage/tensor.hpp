// Tensors as the Open Inference Protocol has them: raw bytes, little-endian, with a datatype and a shape.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lovage {

struct Tensor {
  std::string name;
  std::string datatype;  // FP32, INT64, BYTES, …
  std::vector<std::int64_t> shape;
  std::string bytes;

  static Tensor of_floats(std::string name, std::vector<std::int64_t> shape, const std::vector<float>& values);
  static Tensor of_texts(std::string name, const std::vector<std::string>& texts);

  // The values; throws Error `invalid_argument` when the datatype is another.
  std::vector<float> floats() const;
  std::vector<double> doubles() const;  // of FP32 and FP64
  std::vector<std::string> texts() const;
};

}  // namespace lovage
