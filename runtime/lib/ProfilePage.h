// The parts of the report's page, from ProfilePage.html, .css and .js.
#ifndef DSRT_LIB_PROFILEPAGE_H
#define DSRT_LIB_PROFILEPAGE_H

#include <string_view>

namespace dsrt {
extern const std::string_view profilePageHtml, profilePageStyle, profilePageScript;
} // namespace dsrt
#endif // DSRT_LIB_PROFILEPAGE_H
