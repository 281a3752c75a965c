// Numbers as a reader of DeepSpeed's profiler knows them: two decimals without trailing zeros, a prefix, a unit.
#ifndef DSRT_LIB_PROFILENUMBERS_H
#define DSRT_LIB_PROFILENUMBERS_H

#include <string>

namespace dsrt {

std::string rounded(double value);                         // "38.6"
std::string withPrefix(double value, const char *unit);    // "455.74 MMACs", "0 MACs", T G M K
std::string parametersText(double count);                  // "22.71 M", B M K
std::string timeText(double ns);                           // "1.93 ms", "76.29 us", "0 s"
std::string percentText(double part, double whole);        // "61.75%"
std::string padded(const std::string &text, size_t width); // left aligned
std::string rightAligned(const std::string &text, size_t width);

} // namespace dsrt
#endif // DSRT_LIB_PROFILENUMBERS_H
