// Files that are written whole or not at all.
#ifndef DSRT_LIB_SAVEDTEXT_H
#define DSRT_LIB_SAVEDTEXT_H

#include "runtime/lib/Status.h"
#include <string>
#include <string_view>

namespace dsrt {

/// Writes `text` to the file `path`: what was there stays until all of it is written beside. Into what is no regular file (a pipe, a
/// device) it is written as it is. Fails with cannot write.
Status saveText(const std::string &path, std::string_view text);

/// Fails as `saveText` would before there is a text, but for room on the disk. Leaves nothing behind.
Status expectWritable(const std::string &path);

} // namespace dsrt
#endif // DSRT_LIB_SAVEDTEXT_H
