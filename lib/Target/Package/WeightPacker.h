// Packs the storages of a plan into the weights file.
#ifndef DS_LIB_TARGET_PACKAGE_WEIGHTPACKER_H
#define DS_LIB_TARGET_PACKAGE_WEIGHTPACKER_H

#include "ParameterReader.h"
#include "dialects/DSPlan/DSPlanDialect.h"

namespace ds {

/// Bytes of a storage in the weights file.
int64_t storageBytes(ds_plan::StorageOp storage);

/// Rows of a storage that are packed together: a panel, or one row.
int64_t rowsPerUnit(ds_plan::StorageOp storage);
int64_t unitCount(ds_plan::StorageOp storage);
int64_t unitBytes(ds_plan::StorageOp storage);

/// Packs units [first, first + count) of `storage` to `out`. `reader` is null for a rope table.
Result<void> packUnits(ds_plan::StorageOp storage, const ParameterReader *reader, int64_t first, int64_t count, uint8_t *out);

} // namespace ds
#endif // DS_LIB_TARGET_PACKAGE_WEIGHTPACKER_H
