// Objects to a shared object, with LLD in this process.
#ifndef DS_TARGET_CPU_LINK_H
#define DS_TARGET_CPU_LINK_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace ds {

/// Links one object into a shared object that needs no other; an undefined symbol is an error. Safe to call from several threads.
llvm::Expected<std::string> linkSharedObject(llvm::StringRef object);

} // namespace ds
#endif // DS_TARGET_CPU_LINK_H
