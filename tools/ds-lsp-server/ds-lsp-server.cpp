// The language server of ds modules, for editors.
#include "dialects/RegisterDialects.h"
#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  ds::registerDialects(registry);
  return failed(mlir::MlirLspServerMain(argc, argv, registry));
}
