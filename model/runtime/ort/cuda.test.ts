import { expect, test } from 'vitest'
import { cudaLibrary, missingForCuda } from './cuda.ts'

const none: readonly string[] = []

test('a driver that offers CUDA 13.0 or later is new enough, with all libraries', () => {
  for (const driver of [13_000, 13_010, 14_000])
    expect(missingForCuda({ driver, notLoaded: none })).toEqual([])
})

test('an older driver is named with the version of CUDA that it offers and the one that is needed', () => {
  expect(missingForCuda({ driver: 12_040, notLoaded: none })).toEqual([
    'the NVIDIA driver offers CUDA 12.4 and 13.0 is needed: install a newer driver (580 or later)',
  ])
  expect(missingForCuda({ driver: 12_090, notLoaded: none })).toEqual([
    expect.stringContaining('offers CUDA 12.9 and'),
  ])
})

test('no driver, and each library that cannot be loaded, are said with their remedies', () => {
  const notLoaded = ['libcublasLt.so.13', 'libcublas.so.13']
  const libraries = expect.stringMatching(
    /^libcublasLt\.so\.13, libcublas\.so\.13 cannot be loaded: install .*LD_LIBRARY_PATH$/,
  )
  expect(missingForCuda({ driver: 13_000, notLoaded })).toEqual([libraries])
  expect(missingForCuda({ driver: undefined, notLoaded })).toEqual([
    expect.stringMatching(/^there is no NVIDIA driver \(libcuda\.so\.1\): install one .*--gpus all/),
    libraries,
  ])
})

test('a node on another platform than linux-x64 is told the devices that it can use', () => {
  expect(() => cudaLibrary({ platform: 'darwin', arch: 'arm64' })).toThrow(
    expect.objectContaining({
      code: 'invalid_request',
      message: expect.stringMatching(
        /CUDA on linux-x64, and this is darwin-arm64: use --device webgpu or cpu/,
      ),
    }),
  )
})
