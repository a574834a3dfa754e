import { attention } from './attention.ts'
import { elementwise } from './elementwise.ts'
import { movement } from './movement.ts'
import { norms } from './norms.ts'
import { products } from './products.ts'
import { reductions } from './reductions.ts'
import type { Rules } from './rule.ts'

const integers = { none: 'it gives integers or truth values' }

/** How each op's gradient is written: a missing row does not compile. */
export const rules = {
  ...attention,
  ...elementwise,
  ...movement,
  ...norms,
  ...products,
  ...reductions,
  ConstantOfShape: { none: 'it is a constant' },
  Equal: integers,
  If: { none: 'what is trained is chosen when its graph is built' },
  Less: integers,
  Max: { none: 'it is used on integers' },
  Mod: integers,
  Or: integers,
  Range: integers,
  Shape: integers,
  Sign: { none: 'its slope is 0 wherever it has one' },
} satisfies Rules
