import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { AliasName, TenantId } from '../../shared/ids.ts'
import { Messages } from '../adapter-source.ts'

/** The tenants that a local stack shows, from `demo/demo.json`. */
const DemoFile = z.strictObject({
  tenants: z.array(
    z.strictObject({
      id: TenantId,
      alias: AliasName,
      /** File of the conversation that its adapter is compiled from. */
      messages: z.string().regex(/^[a-z-]+\.json$/),
      /** A question whose answer shows the adapter at work. */
      question: z.string(),
    }),
  ),
})

export interface DemoTenant {
  readonly id: TenantId
  readonly alias: AliasName
  readonly messages: Messages
  readonly question: string
}

const folder = new URL('../../demo/', import.meta.url)

const readJson = async (name: string): Promise<unknown> =>
  JSON.parse(await readFile(new URL(name, folder), 'utf8'))

export async function demoTenants(): Promise<readonly DemoTenant[]> {
  const { tenants } = DemoFile.parse(await readJson('demo.json'))
  return Promise.all(
    tenants.map(async (tenant) => ({
      ...tenant,
      messages: Messages.parse(await readJson(tenant.messages)),
    })),
  )
}
