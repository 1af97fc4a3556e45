package android.view;

import android.content.Context;

/** Of Android's class, what the sample uses. */
public class View {
    public static final int FOCUS_DOWN = 130;

    public View(Context context) {}

    public boolean post(Runnable action) {
        return false;
    }
}
