// Named arrays as the command line writes them: `NAME=@file.npy` or `NAME=2x3xi32=1,2,3,4,5,6`.
#ifndef DS_TOOLS_DS_RUN_ARRAY_H
#define DS_TOOLS_DS_RUN_ARRAY_H

#include <cstdint>
#include <string>
#include <vector>

/// What went wrong, with the exit code for it. Code 0: nothing.
struct Failure {
  int code = 0;
  std::string message;
  explicit operator bool() const { return code != 0; }
};

enum class ElementType { f32, i32 };

struct Array {
  ElementType type = ElementType::f32;
  std::vector<int64_t> shape;
  std::vector<float> floats;     // f32
  std::vector<int32_t> integers; // i32

  /// "2x3xf32"
  std::string typeText() const;
  int64_t elements() const;
};

/// Multiplies sizes. False when one is negative or the product passes 2^40.
bool countElements(const std::vector<int64_t> &shape, int64_t &count);

/// Splits `NAME=REST`. Fails with 2 when there is no name.
Failure splitName(const std::string &text, std::string &name, std::string &rest);

/// Reads what follows the name: `@file.npy`, or shape, type and values; one value fills the array.
Failure readArray(const std::string &name, const std::string &text, Array &array);

/// Comma-separated integers. Fails with 2, naming `what`.
Failure readIntegers(const std::string &what, const std::string &text, std::vector<int32_t> &values);

/// The array as text: its type, then one line for each row of the last axis.
std::string printArray(const std::string &name, const Array &array);

#endif // DS_TOOLS_DS_RUN_ARRAY_H
