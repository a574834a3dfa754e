import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { describeFailure } from '../../cli/command/failure.ts'
import { note } from '../../cli/command/output.ts'
import { defaultBackbone } from '../../cli/command/settings.ts'
import { requireBackbone } from '../../cli/local/local-backbone.ts'
import { prepareTask } from '../prepare.ts'
import { isTaskName, tasks } from '../tasks/tasks.ts'

/** Writes a task's examples in token ids, as adapters are trained and measured on them, for yardstick.py. */

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: 'string' },
    out: { type: 'string' },
    backbone: { type: 'string', default: defaultBackbone },
  },
})
const [name = ''] = positionals
try {
  if (!isTaskName(name) || values.data === undefined || values.out === undefined) {
    note(
      `usage: node experiments/lora/export.ts TASK --data FOLDER --out FILE.json [--backbone SLUG]\n\n  TASK  ${Object.keys(tasks).join(', ')}`,
    )
    process.exitCode = 1
  } else {
    const backbone = await requireBackbone(values.backbone)
    const { choices, dev, test, train } = await prepareTask(tasks[name], {
      folder: values.data,
      backbone,
      tests: undefined,
    })
    const { labels, likelihood } = test
    const task = { task: name, train, dev, likelihood, labels, choices: choices.map(({ tokens }) => tokens) }
    await writeFile(values.out, JSON.stringify(task))
  }
} catch (error) {
  note(`export: ${describeFailure(error)}`)
  process.exitCode = 1
}
