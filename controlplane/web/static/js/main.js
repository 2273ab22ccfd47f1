// Starts the parts of every page. All HTML is from the server; a part only keeps the page current, or opens something.
import { startLive } from "./live.js";
import { startDialog } from "./dialog.js";
import { startPalette } from "./palette.js";
import { startKeys } from "./keyboard.js";
import { startSettings } from "./settings.js";
import { startTimes } from "./times.js";
import { startFilter } from "./filter.js";

startDialog();
startLive();
startTimes();
startPalette();
startKeys();
startSettings();
startFilter();
