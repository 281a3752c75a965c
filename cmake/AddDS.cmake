# Targets of this project. The only file that names MLIR, LLVM or LLD.

if(DS_BUILD_COMPILER)
  find_package(MLIR 22.1 REQUIRED CONFIG HINTS /usr/lib/llvm-22/lib/cmake/mlir)
  find_package(LLD REQUIRED CONFIG HINTS ${LLVM_LIBRARY_DIR}/cmake/lld)
  find_package(Eigen3 3.4 REQUIRED NO_MODULE)
  list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
  include(TableGen)
  include(AddLLVM)
  include(AddMLIR)
  separate_arguments(DS_LLVM_DEFINITIONS NATIVE_COMMAND ${LLVM_DEFINITIONS})
endif()

# Compiler code: C++ against the shared libMLIR, exceptions off as LLVM has them.
function(ds_compiler_flags name)
  target_include_directories(${name} SYSTEM PUBLIC ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
  target_compile_definitions(${name} PRIVATE ${DS_LLVM_DEFINITIONS})
  target_compile_options(${name} PRIVATE -fno-exceptions -Wall -Wextra -Wno-unused-parameter)
  add_dependencies(${name} ds-headers)
endfunction()

# Compiler code whose headers are precompiled: they were two thirds of what compiling a file takes. An object library makes them, not
# target_precompile_headers(), whose absolute paths ccache does not take for the same in another build tree.
function(ds_precompiled_headers name)
  if(NOT DS_PRECOMPILE_HEADERS)
    return()
  endif()
  if(NOT TARGET ds-precompiled)
    set_source_files_properties("${PROJECT_SOURCE_DIR}/cmake/CompilerHeaders.h" PROPERTIES LANGUAGE CXX HEADER_FILE_ONLY OFF)
    add_library(ds-precompiled OBJECT EXCLUDE_FROM_ALL "${PROJECT_SOURCE_DIR}/cmake/CompilerHeaders.h")
    ds_compiler_flags(ds-precompiled)
    target_compile_options(ds-precompiled PRIVATE -xc++-header "SHELL:-Xclang -fno-pch-timestamp" -fpch-instantiate-templates)
    add_custom_target(ds-precompiled-made DEPENDS $<TARGET_OBJECTS:ds-precompiled>) # Ninja waits for no objects of a library
  endif()
  add_dependencies(${name} ds-precompiled-made)
  # -fPIC, as the precompiled headers are: executables would have -fPIE.
  target_compile_options(${name} PRIVATE -fPIC "SHELL:-include-pch $<TARGET_OBJECTS:ds-precompiled>")
endfunction()

# add_ds_library(NAME sources... [LINK_LIBS ds-targets...])
# One static library of the compiler. It waits for every generated header and links libMLIR.so once.
function(add_ds_library name)
  cmake_parse_arguments(ARG "" "" "LINK_LIBS" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC ${ARG_LINK_LIBS} MLIR LLVM)
  ds_compiler_flags(${name})
  ds_precompiled_headers(${name})
endfunction()

# add_ds_tool(NAME sources... [LINK_LIBS ds-targets...] [RUNTIME_ONLY])
# One executable. RUNTIME_ONLY tools link no LLVM.
function(add_ds_tool name)
  cmake_parse_arguments(ARG "RUNTIME_ONLY" "" "LINK_LIBS" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${ARG_LINK_LIBS})
  if(ARG_RUNTIME_ONLY)
    target_compile_options(${name} PRIVATE -Wall -Wextra -Wno-unused-parameter)
  else()
    ds_compiler_flags(${name})
    ds_precompiled_headers(${name})
    set_target_properties(${name} PROPERTIES BUILD_RPATH "${LLVM_LIBRARY_DIR}" INSTALL_RPATH "${LLVM_LIBRARY_DIR};$ORIGIN/../lib")
  endif()
endfunction()

# Links LLD as a library into a target.
function(ds_link_lld name)
  target_include_directories(${name} SYSTEM PRIVATE ${LLD_INCLUDE_DIRS})
  target_link_libraries(${name} PRIVATE lldELF lldCommon)
endfunction()

# ds_tablegen(TD_FILE TARGET  OUTPUT GENERATOR  OUTPUT GENERATOR ...)
# Runs mlir-tblgen on TD_FILE once for each (output, generator) pair.
function(ds_tablegen td target)
  set(LLVM_TARGET_DEFINITIONS ${td})
  set(pairs ${ARGN})
  while(pairs)
    list(POP_FRONT pairs out gen)
    separate_arguments(gen)
    mlir_tablegen(${out} ${gen} -I${PROJECT_SOURCE_DIR} -I${PROJECT_SOURCE_DIR}/include EXTRA_INCLUDES ${MLIR_INCLUDE_DIRS})
  endwhile()
  add_public_tablegen_target(${target})
  add_dependencies(ds-headers ${target})
endfunction()

# add_ds_unittest(NAME sources... [LINK_LIBS targets...])
# A GoogleTest executable under <build>/test/unit, run by ctest and by scripts/test.
function(add_ds_unittest name)
  cmake_parse_arguments(ARG "COMPILER" "" "LINK_LIBS" ${ARGN})
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${ARG_LINK_LIBS} GTest::gtest GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE DS_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/test/unit")
  if(ARG_COMPILER)
    ds_compiler_flags(${name})
    ds_precompiled_headers(${name})
    set_target_properties(${name} PROPERTIES BUILD_RPATH "${LLVM_LIBRARY_DIR}")
  endif()
  add_test(NAME ${name} COMMAND ${name})
endfunction()
