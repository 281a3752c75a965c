// A context that knows the dialects, keeps what it reports, and parses modules.
#ifndef DS_TEST_REFERENCE_REFERENCETEST_H
#define DS_TEST_REFERENCE_REFERENCETEST_H

#include "dialects/DS/DSDialect.h"
#include "dialects/DSCheck/DSCheckDialect.h"
#include "ds/Reference/Tensor.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include "gtest/gtest.h"

namespace ds::reference {

class ReferenceTest : public ::testing::Test {
protected:
  ReferenceTest() : handler(&context, [this](mlir::Diagnostic &diagnostic) { message = diagnostic.str(); }) {
    context.loadDialect<DSDialect, ds_check::DSCheckDialect, mlir::func::FuncDialect>();
  }

  mlir::OwningOpRef<mlir::ModuleOp> parse(llvm::StringRef text) { return mlir::parseSourceString<mlir::ModuleOp>(text, &context); }
  mlir::Type f32() { return mlir::Float32Type::get(&context); }
  mlir::Type i32() { return mlir::IntegerType::get(&context, 32); }
  TensorPtr tensor(mlir::Type type, std::vector<int64_t> shape, std::vector<double> values) {
    return std::make_shared<Tensor>(Tensor{type, std::move(shape), std::move(values)});
  }

  mlir::MLIRContext context;
  std::string message; // the last one
  mlir::ScopedDiagnosticHandler handler;
};

} // namespace ds::reference
#endif // DS_TEST_REFERENCE_REFERENCETEST_H
