// What the modules take from Preact, with htm bound to it.
import { h } from './vendor/preact.js';
import htm from './vendor/htm.js';

export const html = htm.bind(h);
export { Fragment, render } from './vendor/preact.js';
export { useCallback, useEffect, useId, useLayoutEffect, useMemo, useReducer, useRef, useState } from './vendor/hooks.js';
