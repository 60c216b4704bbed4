// JAX's random bits, Threefry 2x32 of Salmon, Moraes, Dror & Shaw (SC 2011), as one call for XLA.

#include <cstdint>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using Words = ffi::Buffer<ffi::U32>;
using Result = ffi::Result<Words>;

static ffi::Error run(Words key0, Words key1, Words in0, Words in1, Result out0, Result out1) {
  constexpr int turns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  for (size_t i = 0; i < key0.element_count(); ++i) {
    const uint32_t a = key0.typed_data()[i], b = key1.typed_data()[i];
    const uint32_t key[3] = {a, b, a ^ b ^ 0x1BD11BDA};
    uint32_t x = in0.typed_data()[i] + a, y = in1.typed_data()[i] + b;
    for (uint32_t round = 0; round < 5; ++round) {
      for (int turn : turns[round % 2]) {
        x += y;
        y = (y << turn | y >> (32 - turn)) ^ x;
      }
      x += key[(round + 1) % 3];
      y += key[(round + 2) % 3] + round + 1;
    }
    out0->typed_data()[i] = x;
    out1->typed_data()[i] = y;
  }
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(
    Threefry, run,
    ffi::Ffi::Bind().Arg<Words>().Arg<Words>().Arg<Words>().Arg<Words>().Ret<Words>().Ret<Words>());
