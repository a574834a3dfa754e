import { Command, Option } from 'commander'
import { TenantId } from '../shared/ids.ts'
import { addEdgeOption, adminOf } from './access/admin-access.ts'
import { parsedBy, wholeNumber } from './command/argument.ts'
import { note, printJson, printTable } from './command/output.ts'
import { formatMoment, parseDate } from './time.ts'

interface Options {
  readonly tenant?: TenantId
  readonly actor?: string
  readonly action?: string
  readonly since?: number
  readonly limit: number
  readonly after?: string
  readonly json?: true
}

/** `quartet audit`. */
export function auditCommand(): Command {
  return addEdgeOption(new Command('audit'))
    .description('what was done to tenants, keys, adapters and aliases, newest first')
    .addOption(new Option('--tenant <tenant>', 'of this tenant').argParser(parsedBy(TenantId)))
    .option('--actor <actor>', 'by admin, or by a key (key_…)')
    .option('--action <action>', 'like key, or key.revoke')
    .addOption(new Option('--since <date>', 'from then on').argParser(parseDate))
    .option('--limit <n>', 'how many', wholeNumber, 50)
    .option('--after <id>', 'those before this entry: the next page')
    .option('--json', 'as JSON')
    .action(async ({ json, ...query }: Options, command: Command) => {
      const { action, actor, after, limit, since, tenant } = query
      const page = await (await adminOf(command)).audit({ action, actor, after, limit, since, tenant })
      if (json) return printJson(page.data)
      printTable(
        ['entry', 'when', 'who', 'what', 'tenant', 'on', 'outcome', 'request'],
        page.data.map((entry) => [
          String(entry.id),
          formatMoment(entry.at),
          entry.actor,
          entry.action,
          entry.tenant ?? '',
          Object.entries(entry.target)
            .filter(([name]) => name !== 'id')
            .map(([name, value]) => `${name}=${value}`)
            .join(' '),
          entry.outcome,
          entry.requestId,
        ]),
      )
      if (page.has_more) note(`more: --after ${page.last_id}`)
    })
}
