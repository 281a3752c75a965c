// The reports of dsrt_profile_report and dsrt_profile_write.
#ifndef DSRT_LIB_PROFILEREPORT_H
#define DSRT_LIB_PROFILEREPORT_H

#include "runtime/lib/Model.h"

namespace dsrt {

/// Makes a report on what `model` traced; null: on a model that did not load. Fails as dsrt_profile_report does; then `text` is kept.
Status makeReport(Model *model, const dsrt_profile_options &options, std::string &text);

/// Makes the report that the ending of `path` asks for and writes it there. Fails as dsrt_profile_write does.
Status saveReport(Model *model, dsrt_profile_options options, const std::string &path);

} // namespace dsrt
#endif // DSRT_LIB_PROFILEREPORT_H
