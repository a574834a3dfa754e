import koffi from 'koffi'

/**
 * Calls run on stacks that koffi allocates, for calls on other threads of 128 KiB by default: loading a graph and compiling
 * shaders need as much as a thread usually has. It takes settings only before it has loaded a library, so whoever loads one
 * imports it from here.
 */
koffi.config({ async_stack_size: 8 * 1024 * 1024, sync_stack_size: 8 * 1024 * 1024 })

export { koffi }
