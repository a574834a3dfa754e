import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { QuartetError } from '../../../shared/errors.ts'

const require = createRequire(import.meta.url)

/** How ONNX Runtime's library is called on each platform; the npm package carries one for each. */
const libraryNames: Readonly<Partial<Record<NodeJS.Platform, RegExp>>> = {
  linux: /^libonnxruntime\.so\.\d+$/,
  darwin: /^libonnxruntime\.\d+\.\d+\.\d+\.dylib$/,
  win32: /^onnxruntime\.dll$/,
}

/** The release of ONNX Runtime that Quartet is built for: the version of its npm package. */
export function pinnedRelease(): string {
  const { version }: { version: string } = require('onnxruntime-node/package.json')
  return version
}

/** The library that the npm package carries for this platform. Throws `node_unavailable` where it carries none. */
export function packagedLibrary(): string {
  const { platform, arch } = process
  const folder = join(
    dirname(require.resolve('onnxruntime-node/package.json')),
    'bin/napi-v6',
    platform,
    arch,
  )
  const name = filesIn(folder).find((file) => libraryNames[platform]?.test(file))
  if (name === undefined)
    throw new QuartetError(
      'node_unavailable',
      `ONNX Runtime ${pinnedRelease()} has no library for ${platform}-${arch} (looked in ${folder}); run nodes on linux, macOS (arm64) or Windows, or run \`npm ci\` again if the folder is missing`,
    )
  return join(folder, name)
}

function filesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
