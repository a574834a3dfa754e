import { execFile } from 'node:child_process'
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createBrotliDecompress } from 'node:zlib'

/**
 * SwiftShader, a Vulkan driver that computes on the CPU, and Vulkan's loader, both out of the Chromium build in
 * `@sparticuz/chromium` (nothing else of which is used). Returns the environment that makes a new process find them.
 */
export async function softwareVulkan(): Promise<{
  environment: NodeJS.ProcessEnv
  remove: () => Promise<void>
}> {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    throw new Error(
      `the software Vulkan driver is for linux-x64, this is ${process.platform}-${process.arch}: set VK_DRIVER_FILES to the ICD file of another driver`,
    )
  const packaged = new URL('../bin/swiftshader.tar.br', import.meta.resolve('@sparticuz/chromium'))
  const folder = await mkdtemp(join(tmpdir(), 'quartet-vulkan-'))
  const archive = join(folder, 'swiftshader.tar')
  await pipeline(
    createReadStream(fileURLToPath(packaged)),
    createBrotliDecompress(),
    createWriteStream(archive),
  )
  await promisify(execFile)('tar', ['-xf', archive, '-C', folder])
  return {
    environment: {
      ...process.env,
      VK_DRIVER_FILES: join(folder, 'vk_swiftshader_icd.json'),
      LD_LIBRARY_PATH: folder,
    },
    remove: () => rm(folder, { recursive: true }),
  }
}
