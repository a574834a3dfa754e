import { copyFile, rename } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { QuartetError } from '../../shared/errors.ts'
import { type Cache, openCache } from '../backbone/cache.ts'
import { fileSha256 } from '../backbone/file-digest.ts'
import {
  cudaFolder,
  type Machine,
  providerLibraries,
  requireCudaPlatform,
} from '../runtime/ort/cuda-folder.ts'
import { packagedLibrary, pinnedRelease } from '../runtime/ort/library.ts'
import type { ObtainOptions, PinnedFile } from './origin.ts'
import { isStorageError, isWhole, sizeOf } from './pinned-download.ts'
import { withLock } from './process-lock.ts'
import { stage } from './staging.ts'
import { type PinnedWheel, withWheel } from './wheel.ts'

/** A package of ONNX Runtime with providers that the npm package lacks. */
export interface ProviderPackage extends PinnedWheel {
  /** They lie in the wheel's `onnxruntime/capi`. */
  readonly libraries: readonly PinnedFile[]
}

/** ONNX Runtime's GPU package of the pinned release, for CUDA 13. */
export const gpuPackage = {
  package: 'onnxruntime-gpu',
  version: '1.30.0',
  wheel: {
    name: 'onnxruntime_gpu-1.30.0-cp312-cp312-manylinux_2_28_x86_64.whl',
    bytes: 246_685_715,
    sha256: '6acc0f4b3d5ac5f2984432faa59dd8fcce6775f8b43a7140afa0f322c7a703b1',
  },
  tags: ['--python-version=3.12', '--implementation=cp', '--abi=cp312', '--platform=manylinux_2_28_x86_64'],
  libraries: providerLibraries,
} satisfies ProviderPackage

export interface CudaSetUpOptions extends Pick<ObtainOptions, 'onProgress' | 'signal'> {
  readonly cache?: Cache | undefined
  readonly machine?: Machine | undefined
  readonly provider?: ProviderPackage | undefined
}

/**
 * Brings ONNX Runtime's CUDA provider to this machine, from the Python package index, beside a copy of the npm package's
 * library, and gives their folder. What is whole there stays, and any number of processes may run it at once. Throws
 * `invalid_request` on a platform that has none, `digest_mismatch` for other bytes than the pinned ones, `not_found`
 * where pip does not bring them.
 */
export async function setUpCuda({
  cache = openCache(),
  machine = process,
  provider = gpuPackage,
  onProgress,
  signal,
}: CudaSetUpOptions): Promise<string> {
  requireCudaPlatform(machine)
  const release = pinnedRelease()
  if (release !== provider.version)
    throw new QuartetError(
      'internal_error',
      `the CUDA libraries are pinned for ONNX Runtime ${provider.version}, and ${release} is installed: run \`npm ci\` again`,
    )
  const folder = cudaFolder(cache)
  const library = await packaged()
  const files = [library.file, ...provider.libraries]
  if ((await notWhole(folder, files)).length === 0) return folder
  const onWait = () =>
    onProgress?.({ type: 'note', text: 'another process is getting the CUDA libraries; waiting for it' })
  return await withLock(`${folder}.lock`, { onWait, signal }, async () => {
    const broken = new Set(await notWhole(folder, files))
    if (broken.size === 0) return folder
    const staging = await stage(folder)
    try {
      const wanted = provider.libraries.filter((file) => broken.has(file))
      if (wanted.length > 0)
        await fetchLibraries(provider, {
          wanted,
          into: staging.folder,
          folder: dirname(folder),
          onProgress,
          signal,
        })
      if (broken.has(library.file)) await copyFile(library.path, join(staging.folder, library.file.name))
      await staging.commitFiles()
      return folder
    } finally {
      await staging.discard()
    }
  })
}

/** The npm package's library, with what it is made of. */
async function packaged(): Promise<{ path: string; file: PinnedFile }> {
  const path = packagedLibrary()
  return { path, file: { name: basename(path), bytes: await sizeOf(path), sha256: await fileSha256(path) } }
}

async function notWhole(folder: string, files: readonly PinnedFile[]): Promise<readonly PinnedFile[]> {
  const whole = await Promise.all(files.map((file) => isWhole(join(folder, file.name), file)))
  return files.filter((_, at) => !whole[at])
}

interface FetchOptions extends ObtainOptions {
  readonly wanted: readonly PinnedFile[]
  readonly into: string
}

async function fetchLibraries(
  provider: ProviderPackage,
  { wanted, into, ...options }: FetchOptions,
): Promise<void> {
  try {
    await withWheel(provider, options, async (unpack) => {
      for (const { name, sha256 } of wanted)
        await rename(await unpack(`onnxruntime/capi/${name}`, sha256), join(into, name))
    })
  } catch (error) {
    options.signal?.throwIfAborted()
    if (isStorageError(error) || !(error instanceof Error)) throw error
    const wrong = error instanceof QuartetError
    if (wrong && error.code !== 'digest_mismatch') throw error
    throw new QuartetError(
      wrong ? error.code : 'not_found',
      `pip did not bring ${provider.package} ${provider.version} (${error.message.trim()}): ${
        wrong
          ? 'see which index it uses (`python3 -m pip config list`), and empty its cache (`python3 -m pip cache purge`)'
          : 'it needs an index that has this package (PIP_INDEX_URL), or a folder with its wheel (PIP_FIND_LINKS)'
      }; then run the command again`,
      { cause: error },
    )
  }
}
