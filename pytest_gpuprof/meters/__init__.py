"""The instruments, one file per quantity, and the sensors they read: NVML for NVIDIA boards, RAPL for CPU packages."""
