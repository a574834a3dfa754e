import { statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { QuartetError } from '../../../shared/errors.ts'
import { type Cache, openCache } from '../../backbone/cache.ts'
import { packagedLibrary, pinnedRelease } from './library.ts'

export interface Machine {
  readonly platform: NodeJS.Platform
  readonly arch: NodeJS.Architecture
}

/** The libraries of ONNX Runtime's GPU package that the npm package's library loads to compute with CUDA. */
export const providerLibraries = [
  {
    name: 'libonnxruntime_providers_shared.so',
    bytes: 14_632,
    sha256: '086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d',
  },
  {
    name: 'libonnxruntime_providers_cuda.so',
    bytes: 272_049_904,
    sha256: '35da2e7ed0dd0d1aec5cdb16ce11a51d06c0c48cf62d1b1c9332946a4fae14fc',
  },
] as const

/** Throws `invalid_request` on a machine that ONNX Runtime has no CUDA libraries for. */
export function requireCudaPlatform({ platform, arch }: Machine): void {
  if (platform !== 'linux' || arch !== 'x64')
    throw new QuartetError(
      'invalid_request',
      `nodes use CUDA on linux-x64, and this is ${platform}-${arch}: use --device webgpu or cpu here`,
    )
}

/** Where `quartet node setup cuda` puts ONNX Runtime with its CUDA provider: beside each other, as it looks for it there. */
export function cudaFolder(cache: Cache = openCache()): string {
  return join(cache.root, 'onnxruntime', `${pinnedRelease()}-cuda13`)
}

/** Names the files that are not in that folder, or have another size there. The hashes are left to the set-up, as they take a second. */
export function missingInCudaFolder(folder: string): readonly string[] {
  const library = packagedLibrary()
  const files = [{ name: basename(library), bytes: sizeOf(library) }, ...providerLibraries]
  return files.filter(({ name, bytes }) => sizeOf(join(folder, name)) !== bytes).map(({ name }) => name)
}

function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size
}
