package android.app;

import android.content.Context;
import android.os.Bundle;
import android.view.View;

/** Of Android's class, what the sample uses. */
public class Activity extends Context {
    protected void onCreate(Bundle state) {}

    protected void onDestroy() {}

    public void setContentView(View view) {}

    public final CharSequence getTitle() {
        return null;
    }

    public void setTitle(CharSequence title) {}
}
