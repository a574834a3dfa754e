import { Command } from 'commander'
import { TenantId } from '../shared/ids.ts'
import { addEdgeOption, adminOf } from './admin-access.ts'
import { parsedBy } from './argument.ts'
import { print, printJson, printTable } from './output.ts'

export function tenantCommand(): Command {
  const tenant = new Command('tenant').description('the tenants of an edge')

  addEdgeOption(tenant.command('create'))
    .description('create a tenant')
    .argument('<id>', 'its name: 1 to 64 of a-z, 0-9 and inner hyphens', parsedBy(TenantId))
    .action(async (id: TenantId, _options, command: Command) => {
      await (await adminOf(command)).createTenant(id)
      print(id)
    })

  addEdgeOption(tenant.command('list'))
    .description('list the tenants')
    .option('--json', 'as JSON')
    .action(async (options: { json?: true }, command: Command) => {
      const tenants = await (await adminOf(command)).listTenants()
      if (options.json) printJson(tenants)
      else for (const { id } of tenants) print(id)
    })

  addEdgeOption(tenant.command('show'))
    .description("show a tenant's keys (never the secrets), adapters and aliases")
    .argument('<id>', 'the tenant', parsedBy(TenantId))
    .option('--json', 'as JSON')
    .action(async (id: TenantId, options: { json?: true }, command: Command) => {
      const shown = await (await adminOf(command)).showTenant(id)
      if (options.json) return printJson(shown)
      printTable(
        ['key', 'name'],
        shown.keys.map(({ id: key, name }) => [key, name]),
      )
      printTable(
        ['adapter', 'kind', 'rows', 'bytes'],
        shown.adapters.map(({ digest, kind, rows, bytes }) => [digest, kind, String(rows), String(bytes)]),
      )
      printTable(
        ['alias', 'adapter'],
        shown.aliases.map(({ alias, digest }) => [alias, digest]),
      )
    })

  return tenant
}
