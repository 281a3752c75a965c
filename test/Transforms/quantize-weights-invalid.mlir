// RUN: not ds-opt --ds-quantize-weights='scheme=int3' %s 2>&1 | FileCheck %s --check-prefix=SCHEME
// RUN: not ds-opt --ds-quantize-weights='rules=q=int4' %s 2>&1 | FileCheck %s --check-prefix=SCHEME-OF-RULE
// RUN: not ds-opt --ds-quantize-weights='scheme=int8 rules=q' %s 2>&1 | FileCheck %s --check-prefix=NO-SCHEME
// RUN: not ds-opt --ds-quantize-weights='scheme=int4-g48' %s 2>&1 | FileCheck %s --check-prefix=GROUP
// RUN: not ds-opt --ds-quantize-weights='scheme=fp8-g48' %s 2>&1 | FileCheck %s --check-prefix=FP8-GROUP
// RUN: not ds-opt --ds-quantize-weights='scheme=moq9' %s 2>&1 | FileCheck %s --check-prefix=BITS
// RUN: not ds-opt --ds-quantize-weights='rules=q=moq2-asym' %s 2>&1 | FileCheck %s --check-prefix=TERNARY
// RUN: not ds-opt --ds-quantize-weights='scheme=moq4-groups3' %s 2>&1 | FileCheck %s --check-prefix=DIVIDE
// RUN: not ds-opt --ds-quantize-weights='scheme=moq4-groups640' %s 2>&1 | FileCheck %s --check-prefix=RUNS
// RUN: not ds-opt --ds-quantize-weights='rules=turned=moq4-groups128' %s 2>&1 | FileCheck %s --check-prefix=ORDER
// RUN: not ds-opt --ds-quantize-weights='scheme=stored' %s 2>&1 | FileCheck %s --check-prefix=GROUP-STORED
// RUN: not ds-opt --ds-quantize-weights='rules=q[=int8' %s 2>&1 | FileCheck %s --check-prefix=REGEX
// RUN: not ds-opt --ds-quantize-weights='rules=q\d|o=int8' %s 2>&1 | FileCheck %s --check-prefix=DIGIT
// RUN: not ds-opt --ds-quantize-weights='scheme=int8 rules=o\.weight=int8-g16,^q$=none' %s 2>&1 | FileCheck %s --check-prefix=UNMATCHED
// RUN: not ds-opt --ds-quantize-weights='scheme=int8 rules=q.weight=int8,q\.=int8-g16' %s 2>&1 | FileCheck %s --check-prefix=BEHIND
// RUN: not ds-opt --ds-quantize-weights='rules=bias=int8' %s 2>&1 | FileCheck %s --check-prefix=VECTOR
// RUN: not ds-opt --ds-quantize-weights='rules=unread=int8' %s 2>&1 | FileCheck %s --check-prefix=UNREAD
// RUN: not ds-opt --ds-quantize-weights='scheme=int8 rules=narrow=int8' %s 2>&1 | FileCheck %s --check-prefix=NARROW
// RUN: not ds-opt --ds-quantize-weights='rules=turned=stored' %s 2>&1 | FileCheck %s --check-prefix=NOTHING-STORED

// SCHEME:         error: quantization: expects int8, {{.*}}, fp8, fp8-row, fp8-gN, moqB with B from 1 to 8, stored or none, got 'int3'
// SCHEME-OF-RULE: error: quantization: expects int8, {{.*}}, got 'int4'
// NO-SCHEME:      error: quantization: expects int8, {{.*}}, got ''
// GROUP:          quantize-weights-invalid.mlir:[[@LINE+19]]:{{.*}}error: quantization: expects groups that divide the 64 columns of 'q.weight', got groups of 48
// FP8-GROUP:      error: quantization: expects groups that divide the 64 columns of 'q.weight', got groups of 48
// BITS:           error: quantization: expects moqB with B from 1 to 8, or moqB-asym or moqB-inference from 3 on, each also with -groupsN, got 'moq9'
// TERNARY:        error: quantization: expects moqB with B from 1 to 8, or moqB-asym or moqB-inference from 3 on, each also with -groupsN, got 'moq2-asym'
// DIVIDE:         error: quantization: 'q.weight': expects a number of groups that divides 5120 values, got 3
// RUNS:           error: quantization: 'q.weight': expects groups of whole rows, or {{.*}} 16 columns, got runs of 8 values for rows of 64
/// A row of the tensor is a column of the matrix, and groups are half a row of the tensor.
// ORDER:          error: quantization: 'turned.weight': expects groups {{.*}}, got runs of 32 values for rows of 64 in another order
// GROUP-STORED:   quantize-weights-invalid.mlir:[[@LINE+12]]:{{.*}}error: quantization: expects groups that divide the 80 columns of 'o.weight', got groups of 32
// REGEX:          error: quantization: expects a POSIX extended regular expression, got 'q[': {{.+}}
// DIGIT:          error: quantization: expects a POSIX extended regular expression, got 'q\d|o': '\d' has no meaning there; a digit is [0-9]
// UNMATCHED:      error: quantization: expects '^q$' to match a matrix of the model, found none
/// A rule of which another one leaves nothing.
// BEHIND:         error: quantization: expects 'q\.' to match a matrix of the model, found none that no rule before it matches
// VECTOR:         error: quantization: expects 'bias' to match a matrix of the model, found none
// UNREAD:         error: quantization: expects 'unread' to match a matrix of the model, found none
/// A rule is asked for by name, so what it cannot do is an error.
// NARROW:         error: quantization: expects 'narrow' to match a matrix of the model that can be quantized, found none: 'narrow.weight' is left, columns that are no multiple of 16
// NOTHING-STORED: error: quantization: expects 'turned' to match a matrix of the model that can be quantized, found none: 'turned.weight' is left, not stored in blocks
ds.parameter @q from "q.weight" : tensor<80x64xf32>
ds.parameter @o from "o.weight" {ds.stored = "Q8_0"} : tensor<64x80xf32>
ds.parameter @turned from "turned.weight" view <0, [64, 64], [1, 64]> : tensor<64x64xf32>
ds.parameter @bias from "q.bias" : tensor<80xf32>
ds.parameter @narrow from "narrow.weight" : tensor<24x24xf32>
ds.parameter @unread from "unread" : tensor<64x64xf32>

func.func @forward(%x: tensor<?x?x64xf32>, %input: tensor<?x?x24xf32>) -> tensor<?x?x64xf32> {
  %q = ds.weight @q : tensor<80x64xf32>
  %bias = ds.weight @bias : tensor<80xf32>
  %y = ds.linear %x, %q bias %bias : tensor<?x?x64xf32>, tensor<80x64xf32>, tensor<80xf32>
  %o = ds.weight @o : tensor<64x80xf32>
  %z = ds.linear %y, %o : tensor<?x?x80xf32>, tensor<64x80xf32>
  %turned = ds.weight @turned : tensor<64x64xf32>
  %t = ds.linear %z, %turned : tensor<?x?x64xf32>, tensor<64x64xf32>
  %narrow = ds.weight @narrow : tensor<24x24xf32>
  %n = ds.linear %input, %narrow : tensor<?x?x24xf32>, tensor<24x24xf32>
  return %t : tensor<?x?x64xf32>
}
