// Runs passes over a module: `ds-opt --ds-insert-cache model.mlir`.
#include "dialects/RegisterDialects.h"
#include "ds/Pipelines/RegisterPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  ds::registerDialects(registry);
  ds::registerPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "optimizer of ds modules\n", registry));
}
