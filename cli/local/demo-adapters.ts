import { readdir, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { Backbone } from '../../model/backbone/backbone-folder.ts'
import type { PrefillWeights } from '../../model/runtime/prefill-weights.ts'
import { parseAdapterFile } from '../../shared/adapter-file.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest, type AliasName } from '../../shared/ids.ts'
import { isSystemError } from '../command/failure.ts'
import { note } from '../command/output.ts'
import { writeFileAtomically } from './atomic-file.ts'
import type { CompiledDemo, DemoTenant, TrainedDemo } from './demo.ts'
import type { Home } from './home.ts'

export interface DemoAdapter {
  readonly tenant: DemoTenant
  readonly digest: AdapterDigest
  readonly bytes: Uint8Array<ArrayBuffer>
}

const extension = '.safetensors'
const precision = 'f32'
const mode = 0o600

interface Place {
  readonly home: Home
  readonly backbone: Backbone
  readonly alias: AliasName
  /** As the nodes read prompts. */
  readonly prefillWeights: PrefillWeights
}

/**
 * The demo tenants' adapters for this backbone: those that come with the project, and those compiled on first use.
 * A tenant whose adapter was trained for other weights is left out with a note that says how to train it for these.
 */
export async function demoAdapters(
  home: Home,
  {
    backbone,
    prefillWeights,
    tenants,
  }: {
    readonly backbone: Backbone
    readonly tenants: readonly DemoTenant[]
    readonly prefillWeights: PrefillWeights
  },
): Promise<readonly DemoAdapter[]> {
  const adapters: DemoAdapter[] = []
  for (const tenant of tenants) {
    const place = { home, backbone, alias: tenant.alias, prefillWeights }
    const { adapter } = tenant
    const bytes = adapter.made === 'compiled' ? await compiled(adapter, place) : await trained(adapter, place)
    if (bytes === undefined) continue
    adapters.push({ tenant, bytes, digest: AdapterDigest.parse(await sha256Hex(bytes)) })
  }
  return adapters
}

/** Kept for this backbone, the weights by which its prompts are read, and this conversation. */
async function compiled(
  { messages }: CompiledDemo,
  { home, backbone, alias, prefillWeights }: Place,
): Promise<Uint8Array<ArrayBuffer>> {
  const { chat, digest, tokens } = backbone.manifest
  const inputs = JSON.stringify({ digest, chat, tokens, precision, prefillWeights, messages })
  const path = join(home.demoAdapters, `${alias}-${(await sha256Hex(inputs)).slice(0, 32)}${extension}`)
  const kept = await readIfThere(path)
  if (kept !== undefined) return kept
  const { compileAdapter } = await import('../compile/compile.ts')
  const source = { kind: 'messages', messages } as const
  const { bytes } = await compileAdapter(backbone, { source, precision, prefillWeights })
  await writeFileAtomically(path, { data: bytes, mode })
  return bytes
}

/** The project's own, or one that was trained for this backbone where the note says. */
async function trained(
  { path, data, options }: TrainedDemo,
  { home, backbone, alias }: Place,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const { digest, slug, weights } = backbone.manifest
  const form = weights === 'q8' ? slug : `${slug} --weights ${weights}`
  const local = join(home.demoAdapters, `${alias}-for-${digest.slice(0, 32)}${extension}`)
  for (const candidate of [path, local]) {
    const bytes = await readIfThere(candidate)
    if (bytes === undefined || parseAdapterFile(bytes).metadata.backbone_sha256 !== digest) continue
    if (candidate === path) await remember(bytes, { home, alias })
    return bytes
  }
  note(
    `the demo's ${alias} is left out: it was trained for other weights than this backbone's (${digest.slice(0, 12)}…); ` +
      `train it for these in some minutes, then start again: ` +
      `npx quartet adapter train --backbone ${form} --data ${relative('', data)} ${options} --out ${relative('', local)}`,
  )
  return undefined
}

/** Keeps a copy, so that a later version of the demo knows this one for its own. */
async function remember(
  bytes: Uint8Array<ArrayBuffer>,
  { home, alias }: Pick<Place, 'home' | 'alias'>,
): Promise<void> {
  const path = join(home.demoAdapters, `${alias}-${(await sha256Hex(bytes)).slice(0, 32)}${extension}`)
  if ((await readIfThere(path)) === undefined) await writeFileAtomically(path, { data: bytes, mode })
}

async function readIfThere(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    return new Uint8Array(await readFile(path))
  } catch (error) {
    if (isSystemError(error) && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** Digests of every demo adapter that this home has shown, whatever the backbone. */
export async function knownDemoDigests({ demoAdapters: folder }: Home): Promise<ReadonlySet<string>> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(extension))
  return new Set(
    await Promise.all(
      names.map(async (name) => sha256Hex(new Uint8Array(await readFile(join(folder, name))))),
    ),
  )
}
