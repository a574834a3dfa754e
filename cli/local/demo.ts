import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { AliasName, TenantId } from '../../shared/ids.ts'
import { Messages } from '../compile/messages.ts'

const shown = {
  id: TenantId,
  alias: AliasName,
  /** A question whose answer shows the adapter at work. */
  question: z.string(),
}

/** The tenants that a local stack shows, from `demo/demo.json`. */
const DemoFile = z.strictObject({
  tenants: z.array(
    z.union([
      z.strictObject({
        ...shown,
        trained: z.strictObject({
          /** The adapter that comes with the project. */
          file: z.string().regex(/^[a-z-]+\.safetensors$/),
          /** Its training data and settings: options of `quartet adapter train`. */
          data: z.string().regex(/^[a-z.-]+\.jsonl$/),
          options: z.string(),
        }),
      }),
      z.strictObject({
        ...shown,
        /** File of the conversation that its adapter is compiled from. */
        compiled: z.strictObject({ messages: z.string().regex(/^[a-z-]+\.json$/) }),
      }),
    ]),
  ),
})

export interface DemoTenant {
  readonly id: TenantId
  readonly alias: AliasName
  readonly question: string
  readonly adapter: TrainedDemo | CompiledDemo
}

export interface TrainedDemo {
  readonly made: 'trained'
  /** The adapter that comes with the project. */
  readonly path: string
  /** Its training data. */
  readonly data: string
  /** Options of `quartet adapter train` besides --data and --out. */
  readonly options: string
}

export interface CompiledDemo {
  readonly made: 'compiled'
  readonly messages: Messages
}

const folder = new URL('../../demo/', import.meta.url)

const readJson = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(name, folder), 'utf8'))

export async function demoTenants(): Promise<readonly DemoTenant[]> {
  const { tenants } = DemoFile.parse(await readJson('demo.json'))
  return Promise.all(
    tenants.map(async ({ id, alias, question, ...tenant }) => ({
      id,
      alias,
      question,
      adapter:
        'trained' in tenant
          ? {
              made: 'trained',
              path: fileURLToPath(new URL(tenant.trained.file, folder)),
              data: fileURLToPath(new URL(tenant.trained.data, folder)),
              options: tenant.trained.options,
            }
          : { made: 'compiled', messages: Messages.parse(await readJson(tenant.compiled.messages)) },
    })),
  )
}
