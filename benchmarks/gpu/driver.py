"""Loads modules and launches kernels by the CUDA driver's C API, on the context and the stream that torch uses."""

import ctypes

from .launches import Product

STREAM_SERIALIZATION = 6  # CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
NUMBERS = {"static_shared": 1, "local_bytes": 3, "registers": 4}  # CUfunction_attribute
DEFAULT_SHARED = 48 << 10


class LaunchAttribute(ctypes.Structure):
    """CUlaunchAttribute: the id is padded to 8 bytes, the value is a union of 64."""

    _fields_ = [("id", ctypes.c_int), ("pad", ctypes.c_char * 4), ("value", ctypes.c_int), ("rest", ctypes.c_char * 60)]


class LaunchConfig(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = [
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared_bytes", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(LaunchAttribute)),
        ("attribute_count", ctypes.c_uint),
    ]


class DriverError(RuntimeError):
    """A call of the driver that failed."""


class Driver:
    """The driver's functions. The current context must exist: torch makes it."""

    def __init__(self, path="libcuda.so.1"):
        self.lib = ctypes.CDLL(path)

    def call(self, name, *arguments):
        """Call a function of the driver and raise its error, by name."""
        code = getattr(self.lib, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self.lib.cuGetErrorString(code, ctypes.byref(text))
            raise DriverError(f"{name}: error {code}: {(text.value or b'').decode()}")


class Module:
    """The kernels of a package, on the device.
    Args: image, the bytes of a cubin or of PTX; kernels, the records of code/launches.json.
    """

    def __init__(self, driver, image, kernels):
        self.driver, self.kernels = driver, kernels
        self.image = ctypes.create_string_buffer(image, len(image) + 1)
        self.handle, self.functions = ctypes.c_void_p(), {}
        driver.call("cuModuleLoadData", ctypes.byref(self.handle), self.image)

    def function(self, index):
        """Find a kernel, once, and allow it its shared memory."""
        if index not in self.functions:
            function, kernel = ctypes.c_void_p(), self.kernels[index]
            self.driver.call("cuModuleGetFunction", ctypes.byref(function), self.handle, kernel["name"].encode())
            if kernel["shared_bytes"] > DEFAULT_SHARED:
                self.driver.call("cuFuncSetAttribute", function, MAX_DYNAMIC_SHARED, kernel["shared_bytes"])
            self.functions[index] = function
        return self.functions[index]

    def numbers(self, index):
        """Registers and local bytes of a thread, static shared bytes of a block."""
        found = {}
        for name, attribute in NUMBERS.items():
            value = ctypes.c_int()
            self.driver.call("cuFuncGetAttribute", ctypes.byref(value), attribute, self.function(index))
            found[name] = value.value
        return found

    def launch(self, call, stream, programmatic=True):
        """Put a launch or a product on a stream. With `programmatic` a launch may begin before the one in front of it has ended, as the
        runtime has it: not behind a product.
        """
        if isinstance(call, Product):
            from . import cublaslt

            cublaslt.multiply(call, stream)
            return
        kernel, values = self.kernels[call.kernel], []
        for value, size in call.arguments:
            values.append(ctypes.c_uint64(value % (1 << 64)) if size == 8 else ctypes.c_int32(value))
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        attribute = LaunchAttribute(id=STREAM_SERIALIZATION, value=1)
        config = LaunchConfig()
        config.grid[:], config.block[:] = call.grid, (kernel["threads"], 1, 1)
        config.shared_bytes, config.stream = kernel["shared_bytes"], stream
        config.attributes, config.attribute_count = ctypes.pointer(attribute), int(programmatic and not call.is_behind_product)
        self.driver.call("cuLaunchKernelEx", ctypes.byref(config), self.function(call.kernel), pointers, None)


class Rehearsal:
    """Stands for a module where there is no GPU: counts launches, and runs none."""

    def __init__(self, kernels):
        self.kernels, self.count = kernels, 0

    def function(self, index):
        return self.kernels[index]["name"]

    def numbers(self, index):
        return dict.fromkeys(NUMBERS, 0) if self.kernels[index] else {}

    def launch(self, call, stream, programmatic=True):
        """Count a launch whose arguments the driver could take, or a product."""
        for value, size in () if isinstance(call, Product) else call.arguments:
            (ctypes.c_uint64 if size == 8 else ctypes.c_int32)(value)
        self.count += 1
