import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { BackboneManifest } from '../../shared/backbone.ts'
import { QuartetError } from '../../shared/errors.ts'
import { issuesOf } from '../../shared/issues.ts'
import { graphVersion } from '../graph/version.ts'
import { fileSha256 } from './file-digest.ts'
import { invalidBackbone } from './invalid-backbone.ts'
import { readJsonFile } from './json-file.ts'

export const manifestName = 'manifest.json'
const requiredFiles = [
  'model.onnx',
  'trace.onnx',
  'weights.bin',
  'tokenizer.json',
  'anchors.safetensors',
] as const

/** A converted backbone on disk. */
export interface Backbone {
  readonly folder: string
  readonly manifest: BackboneManifest
}

const fileName = /^[A-Za-z0-9][A-Za-z0-9._-]*$/

/**
 * Opens a backbone folder: checks the manifest, and that every file is there with the size it states (not its hash:
 * `verifyBackbone`). Throws `not_found` when there is no backbone, `backbone_invalid` when it is broken.
 */
export async function openBackbone(folder: string): Promise<Backbone> {
  const raw = await readJsonFile(join(folder, manifestName))
  if (raw === undefined)
    throw new QuartetError('not_found', `there is no backbone in ${folder} (no ${manifestName})`)
  const parsed = BackboneManifest.safeParse(raw)
  if (!parsed.success) throw invalidBackbone(join(folder, manifestName), issuesOf(parsed.error))
  const manifest = parsed.data
  if (manifest.graph !== graphVersion)
    throw invalidBackbone(
      folder,
      `it holds graphs of version ${manifest.graph} and this Quartet serves version ${graphVersion}; pull or import it again`,
    )
  for (const name of requiredFiles)
    if (!Object.hasOwn(manifest.files, name))
      throw invalidBackbone(folder, `its manifest does not list ${name}`)
  if (manifest.files['weights.bin']?.sha256 !== manifest.digest)
    throw invalidBackbone(folder, 'the digest of its manifest is not the hash of weights.bin')
  for (const [name, { bytes }] of Object.entries(manifest.files)) {
    if (!fileName.test(name)) throw invalidBackbone(folder, `its manifest lists the file name “${name}”`)
    const found = await stat(join(folder, name)).catch(() => undefined)
    if (found === undefined)
      throw invalidBackbone(folder, `${name} is missing; remove the folder and pull again`)
    if (found.size !== bytes)
      throw invalidBackbone(
        folder,
        `${name} has ${found.size} bytes instead of ${bytes}; remove the folder and pull again`,
      )
  }
  return { folder, manifest }
}

/** Hashes every file of a backbone. Throws `digest_mismatch` that names the file at fault. */
export async function verifyBackbone({ folder, manifest }: Backbone): Promise<void> {
  for (const [name, { sha256 }] of Object.entries(manifest.files)) {
    const found = await fileSha256(join(folder, name))
    if (found !== sha256)
      throw new QuartetError(
        'digest_mismatch',
        `${join(folder, name)} has the SHA-256 ${found} instead of ${sha256}; remove the folder and pull again`,
      )
  }
}
