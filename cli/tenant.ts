import { Command, Option } from 'commander'
import type { TenantStatus, TenantSummary } from '../shared/api/admin.ts'
import { TenantId } from '../shared/ids.ts'
import { addEdgeOption, adminOf } from './access/admin-access.ts'
import { parsedBy } from './command/argument.ts'
import { CliFailure } from './command/failure.ts'
import { note, print, printJson, printTable } from './command/output.ts'
import { formatScopes } from './key.ts'
import { addPolicyOptions, policyOf } from './policy-options.ts'
import { formatMoment } from './time.ts'

export function tenantCommand(): Command {
  const tenant = new Command('tenant').description('the tenants of an edge')

  addPolicyOptions(addEdgeOption(tenant.command('create')))
    .description('create a tenant, with limits if any are given')
    .argument('<id>', 'its name: 1 to 64 of a-z, 0-9 and inner hyphens', parsedBy(TenantId))
    .action(async (id: TenantId, _options, command: Command) => {
      await (await adminOf(command)).createTenant(id, policyOf(command))
      print(id)
    })

  addEdgeOption(tenant.command('list'))
    .description('list the tenants')
    .option('--json', 'as JSON')
    .action(async (options: { json?: true }, command: Command) => {
      const tenants = await (await adminOf(command)).listTenants()
      if (options.json) printJson(tenants)
      else
        printTable(
          ['tenant', 'status', 'created'],
          tenants.map(({ createdAt, id, status }) => [id, status, formatMoment(createdAt)]),
        )
    })

  addEdgeOption(tenant.command('show'))
    .description("show a tenant's limits, keys (never the secrets), adapters and aliases")
    .argument('<id>', 'the tenant', parsedBy(TenantId))
    .option('--json', 'as JSON')
    .action(async (id: TenantId, options: { json?: true }, command: Command) => {
      const shown = await (await adminOf(command)).showTenant(id)
      if (options.json) return printJson(shown)
      printTenant(shown)
    })

  addPolicyOptions(addEdgeOption(tenant.command('limit')))
    .description("change a tenant's limits: those that are named, the others stay")
    .argument('<id>', 'the tenant', parsedBy(TenantId))
    .option('--json', 'as JSON')
    .action(async (id: TenantId, options: { json?: true }, command: Command) => {
      const policy = policyOf(command)
      if (Object.keys(policy).length === 0)
        throw new CliFailure('no limit is named', { remedy: 'see quartet tenant limit --help' })
      const changed = await (await adminOf(command)).changeTenant(id, { policy })
      if (options.json) return printJson(changed.policy)
      printLimits(changed)
    })

  const setStatus = (name: string, { description, status }: { description: string; status: TenantStatus }) =>
    addEdgeOption(tenant.command(name))
      .description(description)
      .argument('<id>', 'the tenant', parsedBy(TenantId))
      .action(async (id: TenantId, _options, command: Command) => {
        await (await adminOf(command)).changeTenant(id, { status })
        note(`${id} is ${status}`)
      })
  setStatus('suspend', {
    description: 'stop serving a tenant, within 5 seconds; everything it has stays',
    status: 'suspended',
  })
  setStatus('resume', { description: 'serve a suspended tenant again', status: 'active' })

  addEdgeOption(tenant.command('webhook'))
    .description('who is told when a budget is 50, 80 and 100 % spent: show, set or remove it')
    .argument('<id>', 'the tenant', parsedBy(TenantId))
    .option('--url <url>', 'https, a public host; prints the secret that signs, once')
    .addOption(new Option('--remove', 'tell nobody any more').conflicts('url'))
    .action(async (id: TenantId, options: { url?: string; remove?: true }, command: Command) => {
      const admin = await adminOf(command)
      if (options.url !== undefined) {
        const { secret, url } = await admin.setWebhook(id, options.url)
        note(`${url} is told of budgets; keep the secret below, it is shown only now`)
        return print(secret)
      }
      if (options.remove) {
        await admin.removeWebhook(id)
        return note(`${id} has no webhook any more`)
      }
      const { webhook } = await admin.webhook(id)
      if (webhook === null) note(`${id} has no webhook`)
      else print(webhook.url)
      const { alerts } = await admin.budget(id)
      printTable(
        ['budget', 'period', 'reached', 'spent', 'webhook'],
        alerts.map(({ budget, delivery, limit, percent, period, problem, spent }) => [
          budget,
          period,
          `${percent} %`,
          `${spent} of ${limit}`,
          problem === null ? delivery : `${delivery}: ${problem}`,
        ]),
      )
    })

  addEdgeOption(tenant.command('delete'))
    .description('delete a tenant with its keys, adapters and aliases; what it used stays on record')
    .argument('<id>', 'the tenant', parsedBy(TenantId))
    .requiredOption('--yes', 'it cannot be undone')
    .action(async (id: TenantId, _options, command: Command) => {
      await (await adminOf(command)).deleteTenant(id)
      note(`${id} is deleted`)
    })

  return tenant
}

function printTenant(shown: TenantSummary): void {
  note(`${shown.id} is ${shown.status}`)
  printLimits(shown)
  printTable(
    ['key', 'name', 'expires', 'scopes'],
    shown.keys.map(({ expiresAt, id, name, scopes }) => [
      id,
      name,
      formatMoment(expiresAt),
      formatScopes(scopes),
    ]),
  )
  printTable(
    ['adapter', 'kind', 'rows', 'bytes'],
    shown.adapters.map(({ bytes, digest, kind, rows }) => [digest, kind, String(rows), String(bytes)]),
  )
  printTable(
    ['alias', 'adapter', 'version', 'canary'],
    shown.aliases.map(({ alias, canary, digest, version }) => [
      alias,
      digest,
      String(version),
      canary === null ? '' : `${canary.percent} % by ${canary.by}: ${canary.digest}`,
    ]),
  )
}

function printLimits({ policy }: Pick<TenantSummary, 'policy'>): void {
  const limits = Object.entries(policy).filter(([, limit]) => limit !== null)
  printTable(
    ['limit', 'value'],
    limits.map(([name, limit]) => [name, String(limit)]),
  )
}
