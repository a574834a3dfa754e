import { Command, Option } from 'commander'
import { z } from 'zod'
import type { AdapterSummary } from '../shared/api/deployments.ts'
import type { AnswerForm } from '../shared/api/structure.ts'
import { sha256Hex } from '../shared/digest.ts'
import { AdapterDigest, AliasName, TenantId } from '../shared/ids.ts'
import { addEdgeOption, adminOf, edgeOf } from './access/admin-access.ts'
import { answerFormOption, readAnswerForm } from './answer-form.ts'
import { adapterIn } from './command/adapter-in.ts'
import { parsedBy } from './command/argument.ts'
import { CliFailure } from './command/failure.ts'
import { readNamedFile } from './command/named-file.ts'
import { note, print, printJson, printTable } from './command/output.ts'
import type { AdminClient } from './edge/admin-client.ts'
import { deploymentsClient } from './edge/deployments-client.ts'
import { leftOutNote, namingNote } from './publication-notes.ts'

/** An adapter on its way to a tenant's store. */
export interface Publication {
  /** Absent: the tenant whose key QUARTET_API_KEY is. */
  readonly tenant: TenantId | undefined
  readonly alias: AliasName | undefined
  readonly digest: AdapterDigest
  readonly bytes: Uint8Array<ArrayBuffer>
  /** The form of the alias's answers; null takes it away, absent keeps it. */
  readonly responseFormat?: AnswerForm | null | undefined
}

/** Stores an adapter, and lets the alias name it. */
export async function publish(
  command: Command,
  { responseFormat, tenant, ...file }: Publication,
): Promise<void> {
  const deployments = await deploymentsOf(command, tenant)
  const isFormSet = responseFormat !== undefined && file.alias !== undefined
  // The alias never answers in another form than the one it is deployed with.
  const { alias: deployed, digest } = await deployments.publish(
    isFormSet ? { ...file, alias: undefined } : file,
  )
  const alias =
    isFormSet && file.alias !== undefined
      ? await deployments.setAlias(file.alias, { digest, responseFormat })
      : deployed
  if (alias === null) return note(namingNote(tenant))
  note(`${tenant ?? 'your tenant'}: ${alias.alias} is ${digest} (version ${alias.version})`)
  if (tenant !== undefined) await warnIfLeftOut(await adminOf(command), { tenant, alias: alias.alias })
}

/** Says so where requests for the alias will be refused. */
export async function warnIfLeftOut(
  admin: AdminClient,
  named: { readonly tenant: TenantId; readonly alias: AliasName },
): Promise<void> {
  const warning = leftOutNote((await admin.showTenant(named.tenant)).policy, named)
  if (warning !== undefined) note(warning)
}

/** An operator's access to a tenant's deployments; without a tenant, the access that its own key gives. */
async function deploymentsOf(command: Command, tenant: TenantId | undefined) {
  if (tenant !== undefined) return (await adminOf(command)).deployments(tenant)
  const key = process.env.QUARTET_API_KEY
  if (key === undefined)
    throw new CliFailure('nothing says whose adapter it is', {
      remedy: "name the tenant with --tenant as an operator, or set QUARTET_API_KEY to a tenant's own key",
    })
  return deploymentsClient({ edge: await edgeOf(command), base: '/v1', key })
}

const tenantOption = () =>
  new Option('--tenant <tenant>', "whose adapter it is; absent: QUARTET_API_KEY's tenant").argParser(
    parsedBy(TenantId),
  )

const PublishOptions = z.object({
  tenant: TenantId.optional(),
  alias: AliasName.optional(),
  responseFormat: z.string().optional(),
})

export function publishCommand(): Command {
  const command = new Command('publish')
    .description("store an adapter among a tenant's own, and let an alias name it")
    .argument('<file>', 'the adapter')
    .addOption(tenantOption())
    .addOption(new Option('--alias <alias>', 'let this alias name it').argParser(parsedBy(AliasName)))
    .addOption(answerFormOption())
  return addEdgeOption(command).action(async (file: string, _options, self: Command) => {
    const { alias, responseFormat: form, tenant } = PublishOptions.parse(self.opts())
    if (form !== undefined && alias === undefined)
      throw new CliFailure('--response-format is the form of an alias, and there is none', {
        remedy: 'name it with --alias',
      })
    const responseFormat = await readAnswerForm(form, { name: alias ?? '' })
    const bytes = await readNamedFile(file)
    adapterIn(file, bytes)
    const digest = AdapterDigest.parse(await sha256Hex(bytes))
    await publish(self, { tenant, alias, digest, bytes, responseFormat })
    print(digest)
  })
}

export function listCommand(): Command {
  const command = new Command('list')
    .description("list a tenant's adapters")
    .addOption(tenantOption())
    .option('--json', 'as JSON')
  return addEdgeOption(command).action(
    async ({ json, tenant }: { json?: true; tenant?: TenantId }, self: Command) => {
      const deployments = await deploymentsOf(self, tenant)
      const adapters: AdapterSummary[] = []
      for (let after: string | undefined; ; ) {
        const page = await deployments.listAdapters({ after, limit: 1_000 })
        adapters.push(...page.data)
        if (!page.has_more || page.last_id === null) break
        after = page.last_id
      }
      if (json) return printJson(adapters)
      printTable(
        ['adapter', 'backbone', 'kind', 'rows', 'bytes'],
        adapters.map(({ backbone, bytes, digest, kind, rows }) => [
          digest,
          backbone,
          kind,
          String(rows),
          String(bytes),
        ]),
      )
    },
  )
}

export function deleteCommand(): Command {
  const command = new Command('delete')
    .description('delete a published adapter that no alias sends requests to')
    .argument('<digest>', 'its SHA-256', parsedBy(AdapterDigest))
    .addOption(tenantOption())
  return addEdgeOption(command).action(
    async (digest: AdapterDigest, { tenant }: { tenant?: TenantId }, self: Command) => {
      await (await deploymentsOf(self, tenant)).deleteAdapter(digest)
      note(`${digest} is deleted`)
    },
  )
}
