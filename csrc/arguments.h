// The words in which csrc/<op>.h says what an op refuses, on every device. They are those of
// invad_fast/ops/arguments.py, and so are the lines: tests/test_op_arguments.py holds both equal.
#pragma once

#include <cstdio>
#include <stdexcept>
#include <string>

#include "stable.h"

namespace invad {

// As Python writes a tuple: (2, 3), (2,), ().
inline std::string text(const std::vector<int64_t>& size) {
  std::string all = "(";
  for (size_t i = 0; i < size.size(); ++i) all += (i ? ", " : "") + std::to_string(size[i]);
  return all + (size.size() == 1 ? ",)" : ")");
}

// As "%g", which Python has too.
inline std::string text(double number) {
  if (number != number) return "nan";
  char all[32];
  std::snprintf(all, sizeof all, "%g", number);
  return all;
}

// As Python writes a type: torch.float32.
inline std::string text(ScalarType type) {
  const auto name = [&] {
    switch (type) {
      case ScalarType::Float:
        return "float32";
      case ScalarType::BFloat16:
        return "bfloat16";
      case ScalarType::Half:
        return "float16";
      case ScalarType::Double:
        return "float64";
      case ScalarType::Bool:
        return "bool";
      case ScalarType::Byte:
        return "uint8";
      case ScalarType::Char:
        return "int8";
      case ScalarType::Short:
        return "int16";
      case ScalarType::Int:
        return "int32";
      case ScalarType::Long:
        return "int64";
      case ScalarType::ComplexHalf:
        return "complex32";
      case ScalarType::ComplexFloat:
        return "complex64";
      case ScalarType::ComplexDouble:
        return "complex128";
      case ScalarType::Float8_e4m3fn:
        return "float8_e4m3fn";
      case ScalarType::Float8_e5m2:
        return "float8_e5m2";
      default:
        return torch::headeronly::toString(type);
    }
  }();
  return std::string("torch.") + name;
}

inline bool is_float(ScalarType type) {
  return type == ScalarType::Float || type == ScalarType::BFloat16 || type == ScalarType::Half ||
         type == ScalarType::Double;
}

// Each refuses what does not hold, with a line that begins with the op's name.
class Arguments {
 public:
  explicit Arguments(const char* op) : op_(op) {}

  // `message` gives the rest of the line.
  template <typename Message>
  void require(bool holds, const Message& message) const {
    if (!holds) throw std::runtime_error(op_ + ": " + message());
  }

  // One of the four float types.
  void is_float(const std::string& name, const Tensor& x) const {
    require(invad::is_float(x.scalar_type()), [&] {
      return name + " must be a dense tensor of float32, float16, bfloat16 or float64, not " +
             text(x.scalar_type());
    });
  }

  void type(const std::string& name, const Tensor& x, ScalarType type) const {
    require(x.scalar_type() == type, [&] {
      return name + " must be a dense tensor of " + text(type) + ", not " + text(x.scalar_type());
    });
  }

  void size(const std::string& name, const Tensor& x, const std::vector<int64_t>& size) const {
    require(size_of(x) == size,
            [&] { return name + " must be " + text(size) + ", not " + text(size_of(x)); });
  }

  void device(const std::string& name, const Tensor& x, const Tensor& like) const {
    require(x.device() == like.device(),
            [&] { return name + " must be on the device of the others"; });
  }

  // A batch of images or features.
  void image(const std::string& name, const Tensor& x) const {
    is_float(name, x);
    require(x.dim() == 4, [&] { return name + " must be N×C×H×W, not " + text(size_of(x)); });
  }

  // Floats of a size, beside others.
  void floats(const std::string& name, const Tensor& x, const std::vector<int64_t>& size,
              const Tensor& like) const {
    is_float(name, x);
    this->size(name, x, size);
    device(name, x, like);
  }

  // A number for each sample of x, as a forward returned them for its backward.
  void statistics(const std::string& name, const Tensor& values, const Tensor& x) const {
    type(name, values, accumulation_type(x));
    size(name, values, {x.size(0)});
    device(name, values, x);
    require(values.size(0) < 2 || values.stride(0) != 0, [&] {
      return name + " must have a number of its own for each sample, not one that is expanded";
    });
  }

  // least <= value <= most; NaN is neither.
  void number(const std::string& name, double value, double least, double most) const {
    require(value >= least && value <= most, [&] {
      return name + " must be from " + text(least) + " to " + text(most) + ", not " + text(value);
    });
  }

 private:
  std::string op_;
};

}  // namespace invad
