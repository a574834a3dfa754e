import { readdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Backbone } from '../../gpu-node/model/backbone-folder.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { AdapterDigest } from '../../shared/ids.ts'
import { writeFileAtomically } from './atomic-file.ts'
import type { DemoTenant } from './demo.ts'
import type { Home } from './home.ts'

export interface DemoAdapter {
  readonly tenant: DemoTenant
  readonly digest: AdapterDigest
  readonly bytes: Uint8Array<ArrayBuffer>
}

const extension = '.safetensors'
const precision = 'f32'

/** The demo tenants' adapters for this backbone, compiled on first use. */
export async function demoAdapters(
  home: Home,
  { backbone, tenants }: { backbone: Backbone; tenants: readonly DemoTenant[] },
): Promise<readonly DemoAdapter[]> {
  const files = await Promise.all(
    tenants.map(async (tenant) => {
      const { chat, digest, tokens } = backbone.manifest
      const inputs = JSON.stringify({ digest, chat, tokens, precision, messages: tenant.messages })
      const name = `${tenant.alias}-${(await sha256Hex(inputs)).slice(0, 32)}${extension}`
      return { tenant, path: join(home.demoAdapters, name) }
    }),
  )
  const known = new Set(await readdir(home.demoAdapters))
  const missing = files.filter(({ path }) => !known.has(basename(path)))
  if (missing.length > 0) {
    const { compileAdapter } = await import('../compile.ts')
    for (const { tenant, path } of missing) {
      const { bytes } = await compileAdapter(backbone, {
        source: { kind: 'messages', messages: tenant.messages },
        precision,
      })
      await writeFileAtomically(path, { data: bytes, mode: 0o600 })
    }
  }
  return Promise.all(
    files.map(async ({ tenant, path }) => {
      const bytes = new Uint8Array(await readFile(path))
      return { tenant, bytes, digest: AdapterDigest.parse(await sha256Hex(bytes)) }
    }),
  )
}

/** Digests of every demo adapter ever compiled in this home, whatever the backbone. */
export async function compiledDemoDigests({ demoAdapters: folder }: Home): Promise<ReadonlySet<string>> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(extension))
  return new Set(
    await Promise.all(
      names.map(async (name) => sha256Hex(new Uint8Array(await readFile(join(folder, name))))),
    ),
  )
}
