import { copyFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { QuartetError } from '../../shared/errors.ts'
import { cudaFolder } from '../runtime/ort/cuda.ts'
import { packagedLibrary, pinnedRelease } from '../runtime/ort/library.ts'
import type { ObtainOptions } from './origin.ts'
import { isWhole } from './pinned-download.ts'
import { stage } from './staging.ts'
import { type PinnedWheel, withWheel } from './wheel.ts'

/** ONNX Runtime's GPU package of the pinned release, for CUDA 13. */
const gpuPackage = {
  package: 'onnxruntime-gpu',
  version: '1.30.0',
  wheel: {
    name: 'onnxruntime_gpu-1.30.0-cp312-cp312-manylinux_2_28_x86_64.whl',
    bytes: 246_685_715,
    sha256: '6acc0f4b3d5ac5f2984432faa59dd8fcce6775f8b43a7140afa0f322c7a703b1',
  },
  tags: ['--python-version=3.12', '--implementation=cp', '--abi=cp312', '--platform=manylinux_2_28_x86_64'],
} satisfies PinnedWheel

/** The libraries in it that the npm package's library loads to compute with CUDA. */
const providerLibraries = [
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
]

/**
 * Brings ONNX Runtime's CUDA provider to this machine, from the Python package index, and gives its folder. Throws
 * `invalid_request` on a platform that has none, `digest_mismatch` for other bytes than the pinned ones.
 */
export async function setUpCuda(options: Pick<ObtainOptions, 'onProgress' | 'signal'>): Promise<string> {
  const { platform, arch } = process
  if (platform !== 'linux' || arch !== 'x64')
    throw new QuartetError(
      'invalid_request',
      `nodes use CUDA on linux-x64, and this is ${platform}-${arch}: use --device webgpu or cpu here`,
    )
  const release = pinnedRelease()
  if (release !== gpuPackage.version)
    throw new QuartetError(
      'internal_error',
      `the CUDA libraries are pinned for ONNX Runtime ${gpuPackage.version}, and ${release} is installed`,
    )
  const folder = cudaFolder()
  const whole = await Promise.all(providerLibraries.map((file) => isWhole(join(folder, file.name), file)))
  if (whole.every(Boolean)) return folder
  const staging = await stage(folder)
  try {
    await withWheel(gpuPackage, { folder: dirname(folder), ...options }, async (unpack) => {
      for (const { name, sha256 } of providerLibraries)
        await rename(await unpack(`onnxruntime/capi/${name}`, sha256), join(staging.folder, name))
    })
    const library = packagedLibrary()
    await copyFile(library, join(staging.folder, basename(library)))
    // The files that are there are not whole.
    await rm(folder, { recursive: true, force: true })
    await staging.commit()
    return folder
  } finally {
    await staging.discard()
  }
}
