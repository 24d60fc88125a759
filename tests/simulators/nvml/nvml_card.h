/*
 * What the simulated NVML offers to other simulated libraries of the same process, such as a CUDA driver: what its
 * cards are, and ways to put work and memory on them. The functions are looked up by dlsym, so nothing is linked.
 */
#ifndef GPUPROF_NVML_CARD_H
#define GPUPROF_NVML_CARD_H

#include <stdbool.h>
#include <stdint.h>

struct gpuprof_card {
    char name[64], uuid[80]; /* the UUID as NVML writes it, "GPU-..." */
    int pci_domain, pci_bus, pci_device;
    int cc_major, cc_minor, multiprocessors, sm_clock_mhz, memory_clock_mhz, bus_width_bits;
    uint64_t memory_bytes;   /* without what the driver keeps for itself */
};

/* The card at an NVML index; false where there is none. */
bool gpuprof_nvml_card(unsigned int index, struct gpuprof_card *card);

/* Draws the card's `busy_w` from one moment to another, which may lie ahead. */
bool gpuprof_nvml_work(unsigned int index, int64_t begin_ns, int64_t end_ns);

/* Lets the calling process hold that much memory of the card; with 0 it leaves the card's list of processes. */
bool gpuprof_nvml_hold(unsigned int index, uint64_t bytes);

/* The memory in use on the card, by whomever. */
uint64_t gpuprof_nvml_used_bytes(unsigned int index);

/* Whether time only moves when told to. */
bool gpuprof_nvml_is_virtual(void);

int64_t gpuprof_nvml_now_ns(void);

#endif
